"""Reading politely, against a real server that misbehaves."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from tests.training.data.server import Answer, Server, serving, text
from training.data.scrapers.http import PoliteClient, _seconds

pytest.importorskip("httpx", reason="the extra scrape is not installed")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def quick(**more: Any) -> PoliteClient:
    options = {"wait_seconds": 0.0, "requests_per_second": 1000.0, "timeout_seconds": 2.0} | more
    return PoliteClient(**options)  # type: ignore[arg-type]


@pytest.fixture
async def client() -> AsyncIterator[PoliteClient]:
    async with quick() as found:
        yield found


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_busy_server_is_asked_again(
    server: Server, client: PoliteClient, status: int
) -> None:
    server.answers["/a"] = [text("busy", status=status), text("busy", status=status), text("here")]
    assert await client.get(f"{server.url}/a") == b"here"
    assert server.times("/a") == 3


@pytest.mark.parametrize(
    ("status", "said"), [(429, "limits how often it answers"), (500, "fails (HTTP 500, 4 times)")]
)
async def test_a_server_that_stays_busy_is_an_error(
    server: Server, client: PoliteClient, status: int, said: str
) -> None:
    server.answers["/a"] = text("busy", status=status)
    with pytest.raises(DataError, match="HTTP") as caught:
        await client.get(f"{server.url}/a")
    assert said in caught.value.message
    assert server.times("/a") == 4


async def test_retry_after_is_waited_for(server: Server) -> None:
    busy = text("busy", status=429, headers={"Retry-After": "0.3"})
    server.answers["/a"] = [busy, text("here")]
    start = time.monotonic()
    async with quick() as client:
        assert await client.get(f"{server.url}/a") == b"here"
    assert time.monotonic() - start >= 0.3


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
    assert _seconds("Mon, 05 Jan 2026 12:00:30 GMT", now) == 30.0
    assert _seconds("Mon, 05 Jan 2026 11:00:00 GMT", now) == 0.0
    assert _seconds("soon", now) == 0.0


async def test_other_refusals_are_not_repeated(server: Server, client: PoliteClient) -> None:
    server.answers["/a"] = text("who are you?", status=403)
    with pytest.raises(DataError, match="answered HTTP 403"):
        await client.get(f"{server.url}/a")
    assert server.times("/a") == 1


async def test_nothing_there_is_a_value_where_it_may_be(
    server: Server, client: PoliteClient
) -> None:
    assert await client.get(f"{server.url}/absent", missing_ok=True) is None


async def test_a_body_cut_short_is_never_taken_for_whole(
    server: Server, client: PoliteClient
) -> None:
    server.answers["/a"] = [Answer(b"a whole answer", cut=7), Answer(b"a whole answer")]
    assert await client.get(f"{server.url}/a") == b"a whole answer"
    server.answers["/b"] = Answer(b"a whole answer", cut=7)
    with pytest.raises(DataError, match="cannot be read"):
        await client.get(f"{server.url}/b")


async def test_a_body_cut_short_is_not_kept_on_disk(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = [Answer(b"a whole answer", cut=7), Answer(b"a whole answer")]
    async with quick(cache_dir=tmp_path, attempts=1) as client:
        with pytest.raises(DataError):
            await client.get(f"{server.url}/a")
        assert await client.get(f"{server.url}/a") == b"a whole answer"


async def test_a_time_out_is_an_error_that_asks_for_the_connection(server: Server) -> None:
    server.answers["/a"] = text("late", wait_seconds=30.0)
    async with quick(timeout_seconds=0.2, attempts=2) as client:
        with pytest.raises(DataError, match="2 attempts") as caught:
            await client.get(f"{server.url}/a")
    assert "Are you offline?" in caught.value.cure
    assert server.times("/a") == 2


async def test_no_server_at_all_is_said(client: PoliteClient) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="cannot be read") as caught:
        await client.get(f"http://127.0.0.1:{port}/a")
    assert "offline" in caught.value.cure


async def test_answers_are_kept_on_disk_for_a_while(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = [text("first"), text("second")]
    async with quick(cache_dir=tmp_path) as client:
        assert await client.get(f"{server.url}/a") == b"first"
    async with quick(cache_dir=tmp_path) as client:
        assert await client.get(f"{server.url}/a") == b"first"
        assert server.times("/a") == 1
    async with quick(cache_dir=tmp_path, cache_seconds=0) as client:
        assert await client.get(f"{server.url}/a") == b"second"


async def test_failures_are_not_kept(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = [text("busy", status=500), text("here")]
    async with quick(cache_dir=tmp_path) as client:
        assert await client.get(f"{server.url}/a") == b"here"


async def test_robots_txt_is_obeyed_and_asked_for_once(
    server: Server, client: PoliteClient
) -> None:
    server.answers["/robots.txt"] = text("User-agent: *\nDisallow: /private\n")
    server.answers["/private/a"] = server.answers["/open"] = text("here")
    assert await client.get(f"{server.url}/open") == b"here"
    with pytest.raises(DataError, match=r"robots\.txt of .* forbids"):
        await client.get(f"{server.url}/private/a")
    assert server.times("/private/a") == 0
    assert server.times("/robots.txt") == 1


async def test_without_robots_txt_everything_may_be_read_but_not_when_it_fails(
    server: Server,
) -> None:
    server.answers["/a"] = text("here")
    async with quick() as client:
        assert await client.get(f"{server.url}/a") == b"here"
    server.answers["/robots.txt"] = text("broken", status=500)
    async with quick(attempts=2) as client:
        with pytest.raises(DataError, match=r"robots\.txt"):
            await client.get(f"{server.url}/a")
    assert server.times("/a") == 1


async def test_a_host_is_asked_no_faster_than_the_limit(server: Server) -> None:
    server.answers["/a"] = text("here")
    start = time.monotonic()
    async with quick(requests_per_second=10.0) as client:
        for _ in range(4):  # robots.txt and four reads: five requests, four gaps of 0.1 s
            await client.get(f"{server.url}/a")
    assert time.monotonic() - start >= 0.35


async def test_servers_are_told_who_asks(server: Server) -> None:
    server.answers["/a"] = text("here")
    async with quick(contact="me@example.com") as client:
        await client.get(f"{server.url}/a")
    assert all(agent.startswith("athena/") for agent in server.agents)
    assert all("me@example.com" in agent for agent in server.agents)


async def test_a_key_stands_in_no_message(server: Server, client: PoliteClient) -> None:
    with pytest.raises(DataError) as caught:
        await client.get(f"{server.url}/absent", {"api_key": "SECRET"})
    assert "SECRET" not in str(caught.value)


# --- redirects


@pytest.fixture
def other() -> Iterator[Server]:
    with serving() as found:
        yield found


async def test_a_redirect_on_the_same_host_is_followed(
    server: Server, client: PoliteClient
) -> None:
    server.answers["/a"] = text("", status=302, headers={"Location": "b"})
    server.answers["/b"] = text("here")
    assert await client.get(f"{server.url}/a") == b"here"
    assert server.times("/robots.txt") == 1


@pytest.mark.parametrize("robots", [True, False])
async def test_a_redirect_to_another_host_asks_its_robots_txt(
    server: Server, other: Server, client: PoliteClient, robots: bool
) -> None:
    server.answers["/a"] = text("", status=301, headers={"Location": f"{other.url}/private/b"})
    other.answers["/private/b"] = text("here")
    assert await client.get(f"{server.url}/a", robots=robots) == b"here"
    other.answers["/robots.txt"] = text("User-agent: *\nDisallow: /private\n")
    async with quick() as fresh:
        with pytest.raises(DataError, match=r"robots\.txt of .* forbids"):
            await fresh.get(f"{server.url}/a", robots=robots)
    assert other.times("/private/b") == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2:{port}/b", "http://[::1]:{port}/b", "http://10.1.2.3/b",
        "http://192.168.0.1/b", "http://169.254.169.254/latest/meta-data/", "http://0.0.0.0:{port}/b",
        "http://[::ffff:127.0.0.2]:{port}/b", "http://[64:ff9b::a00:1]/b", "http://2130706434:{port}/b",
        "http://[2002:a00:1::]/b", "http://[fd00::1]/b", "http://100.64.0.1/b",
    ],
)  # fmt: skip
async def test_a_redirect_never_reaches_a_private_address_that_was_not_named(
    server: Server, client: PoliteClient, target: str
) -> None:
    port = server.server.server_port
    server.answers["/a"] = text("", status=302, headers={"Location": target.format(port=port)})
    server.answers["/b"] = text("secret")
    with pytest.raises(DataError, match="no public address"):
        await client.get(f"{server.url}/a")
    assert server.times("/b") == 0


async def test_a_private_address_that_the_user_named_is_reached_over_a_redirect(
    server: Server, other: Server, client: PoliteClient
) -> None:
    port = other.server.server_port
    server.answers["/a"] = text("", status=302, headers={"Location": f"http://localhost:{port}/b"})
    other.answers["/b"] = text("here")
    # localhost is the address 127.0.0.1, which was named.
    assert await client.get(f"{server.url}/a") == b"here"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "http://", "data:,x"])
async def test_a_redirect_to_no_web_address_is_refused(
    server: Server, client: PoliteClient, target: str
) -> None:
    server.answers["/a"] = text("", status=302, headers={"Location": target})
    with pytest.raises(DataError):
        await client.get(f"{server.url}/a")


async def test_redirects_in_a_circle_end(server: Server, client: PoliteClient) -> None:
    server.answers["/a"] = text("", status=302, headers={"Location": "/a"})
    with pytest.raises(DataError, match="on and on"):
        await client.get(f"{server.url}/a")


# --- limits


async def test_a_body_is_unpacked_no_further_than_the_limit(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(50_000_000))  # 50 MB in 49 kB
    server.answers["/a"] = Answer(packed, headers={"Content-Encoding": "gzip"})
    async with quick(max_bytes=1_000_000, cache_dir=tmp_path) as client:
        with pytest.raises(DataError, match="more than 1000000 bytes") as caught:
            await client.get(f"{server.url}/a")
    assert "max_unpacked_bytes" in caught.value.cure
    assert list(tmp_path.glob("*.answer")) == []
    async with quick(max_bytes=50_000_000) as client:
        assert await client.get(f"{server.url}/a") == bytes(50_000_000)


@pytest.mark.parametrize("packing", ["gzip, gzip", "br", "zstd", "x"])
async def test_a_packing_that_was_not_asked_for_is_refused(
    server: Server, client: PoliteClient, packing: str
) -> None:
    body = gzip.compress(gzip.compress(b"here"))
    server.answers["/a"] = Answer(body, headers={"Content-Encoding": packing})
    with pytest.raises(DataError, match="packed as"):
        await client.get(f"{server.url}/a")


async def test_an_answer_that_drips_for_ever_has_an_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def drip() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not stop.wait(0.05):
                    try:
                        peer.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        start = time.monotonic()
        async with quick(total_seconds=0.5) as client:
            with pytest.raises(DataError, match=r"longer than 0\.5 seconds"):
                url = f"http://127.0.0.1:{listening.getsockname()[1]}/a"
                await client.get(url, robots=False)
        assert time.monotonic() - start < 2.0
        stop.set()
        thread.join()


# --- secrets


async def test_a_name_and_password_are_sent_to_their_host_and_written_nowhere(
    server: Server, other: Server, tmp_path: Path
) -> None:
    url = server.url.replace("://", "://me:CANARY@")
    server.answers["/a"] = text("here")
    server.answers["/b"] = text("", status=302, headers={"Location": f"{other.url}/c"})
    other.answers["/c"] = text("there")
    async with quick(cache_dir=tmp_path / "cache") as client:
        assert await client.get(f"{url}/a?token=CANARY", {"api_key": "CANARY"}) == b"here"
        assert server.authorizations[-1] == "Basic " + b64encode(b"me:CANARY").decode()
        assert await client.get(f"{url}/b") == b"there"
        assert set(other.authorizations) == {""}
        with pytest.raises(DataError) as caught:
            await client.get(f"{url}/absent?token=CANARY")
    assert "CANARY" not in str(caught.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * len(files)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    assert len(files) >= 2
    assert not any("CANARY" in path.name or b"CANARY" in path.read_bytes() for path in files)


async def test_the_log_holds_no_key(
    server: Server, client: PoliteClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server.answers["/a"] = [text("busy", status=503), text("here")]
    await client.get(f"{server.url}/a", {"api_key": "CANARY"})
    assert "trying again" in caplog.text
    assert "CANARY" not in caplog.text


async def test_the_cache_of_older_versions_is_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "http.db").write_text("https://x/?api_key=CANARY")
    async with quick(cache_dir=tmp_path):
        assert not (tmp_path / "http.db").exists()
