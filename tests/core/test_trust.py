"""The list of code that a user has run: private, and believed only where nobody else could write it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from core.trust import TrustedCode

ONE, TWO = "1" * 64, "2" * 64


def test_what_was_added_is_known_and_nothing_else(tmp_path: Path) -> None:
    trusted = TrustedCode(tmp_path / "athena" / "trusted-code")
    assert trusted.unknown([ONE, TWO]) == [ONE, TWO]
    trusted.add([ONE, ONE])
    trusted.add([ONE])
    assert trusted.path.read_text() == f"# athena trusted-code 1\n{ONE}\n"
    assert trusted.unknown([ONE, TWO]) == [TWO]
    assert TrustedCode(trusted.path).unknown([ONE]) == []


def test_it_is_private(tmp_path: Path) -> None:
    trusted = TrustedCode(tmp_path / "athena" / "trusted-code")
    trusted.add([ONE])
    assert stat.S_IMODE(trusted.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(trusted.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_list_that_others_may_write_is_not_believed(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = TrustedCode(tmp_path / "trusted-code")
    trusted.add([ONE])
    trusted.path.chmod(mode)
    assert trusted.unknown([ONE]) == [ONE]
    assert "can be written by others" in caplog.text


def test_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(f"{ONE}\n")
    trusted = TrustedCode(tmp_path / "trusted-code")
    trusted.path.symlink_to(tmp_path / "elsewhere")
    assert trusted.unknown([ONE]) == [ONE]
    trusted.add([TWO])
    assert (tmp_path / "elsewhere").read_text() == f"{ONE}\n"


def test_nonsense_in_the_list_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "trusted-code"
    path.write_bytes(b"\xff\n" + ONE.encode() + b"\n" + ONE[:10].encode() + b"\n")
    path.chmod(0o600)
    assert TrustedCode(path).unknown([ONE, ONE[:10]]) == [ONE[:10]]


def test_its_place(tmp_path: Path) -> None:
    state = TrustedCode.of_user({"XDG_STATE_HOME": str(tmp_path / "s"), "HOME": "/home/x"})
    assert state.path == tmp_path / "s" / "athena" / "trusted-code"
    for environment in ({"HOME": "/home/x"}, {"HOME": "/home/x", "XDG_STATE_HOME": "relative"}):
        assert TrustedCode.of_user(environment).path == Path(
            "/home/x/.local/state/athena/trusted-code"
        )
