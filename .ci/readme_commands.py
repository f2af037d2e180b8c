"""Run the README's commands with an installed Athena, in an empty folder.

    python .ci/readme_commands.py .../bin/athena [--all]

For CI, which does it with the wheel alone, outside the checkout: whatever needs no extra must work, and a
command that wants one must say which. Every line of the README that begins with `athena` is run as it
stands, but for an option that cuts the long ones short; two that are long all the same wait for `--all`.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
SHORTER = {
    "athena paper-trade": "--steps 5",
    "athena ablate": "--arms none --start 2003-01-01 --end 2003-02-28",
    "athena model eval": "--data prices.csv",
    "athena train stage1": "--steps 2",
    "athena train stage2": "--steps 1",
    "athena train eval": "--episodes 10",
}
LONG = ("athena model eval", "athena train stage2")
WANTS_EXTRA = {"athena data scrape": "scrape"}
FIRST = "athena backtest --symbols AAPL,IBM --start 2012-05-01 --end 2012-05-31"
"""What `last` means in those that show a run: the shipped sample, so that its days are there."""


def commands(text: str) -> list[str]:
    """Each line of a code block that begins with `athena`, without its comment, the runs of `last` first."""
    blocks = text.split("\n```")[1::2]
    lines = [line for block in blocks for line in block.splitlines()]
    found = [re.split(r"\s{2,}#", line)[0].strip() for line in lines if line.startswith("athena ")]
    assert len(found) > 15, "the README's commands are not where they were"
    last = [each for each in found if " last" in each]
    return [FIRST, *last, *(each for each in found if each not in last)]


def prepare(folder: Path, text: str, python: Path) -> None:
    """The files that the README's commands name."""
    strategy = re.search(r"```python\n# strongest\.py\n(.*?)```", text, flags=re.DOTALL)
    assert strategy is not None
    (folder / "strongest.py").write_text(strategy[1])
    (folder / "mine.py").write_text(strategy[1].replace("Strongest", "Mine"))
    code = "import exchange_calendars as e; print(*e.get_calendar('XNYS').sessions_in_range"
    code += "('2013-01-02', '2015-12-31').strftime('%Y-%m-%d'))"
    listed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    days = listed.stdout.split()
    with open(folder / "prices.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["date", "symbol", "open", "high", "low", "close", "volume"])
        for at, day in enumerate(days):
            for step, symbol in enumerate(("AAA", "BBB")):
                close = 100.0 + 10.0 * step + 0.1 * (at * (7 + step) % 23) + at / 50.0
                rows.writerow([day, symbol, close, close + 1.0, close - 1.0, close, 1_000_000])
    (folder / "book.csv").write_text("symbol,quantity\nAAPL,10\nCASH,50000\n")
    with open(folder / "posts.jsonl", "w") as file:
        for at, day in enumerate(days):
            words = f"AAA met its plan number {at} and its orders of kind {at * 7 % 101} rose."
            post = {"time": f"{day}T12:00:00Z", "symbol": "AAA", "text": words}
            file.write(json.dumps(post) + "\n")


def run(athena: Path, command: str, folder: Path) -> tuple[bool, str]:
    """Whether a command did what it should, and a line that says so."""
    more = next((more for head, more in SHORTER.items() if command.startswith(head)), "")
    wanted = next((each for head, each in WANTS_EXTRA.items() if command.startswith(head)), None)
    words = shlex.split(f"{command} {more}")[1:]
    start = time.monotonic()
    done = subprocess.run(
        [athena, *words], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    said = f"{time.monotonic() - start:6.1f} s  {command} {more}".rstrip()
    if wanted:
        good = done.returncode == 2 and f"[{wanted}]" in done.stderr
        return good, f"{said}  (wants the extra {wanted}, and says so)" if good else _why(
            said, done
        )
    return (True, said) if done.returncode == 0 else (False, _why(said, done))


def main() -> int:
    athena, everything = Path(sys.argv[1]).absolute(), "--all" in sys.argv
    text = README.read_text(encoding="utf-8")
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, text, athena.with_name("python"))
        for line in commands(text):
            if line in LONG and not everything:
                continue
            named = line.removesuffix(" ID")
            command = line if named == line else f"{named} {_entry(athena, folder)}"
            good, said = run(athena, command, folder)
            sys.stdout.write(said + "\n")
            failed += not good
    return 1 if failed else 0


def _why(said: str, done: subprocess.CompletedProcess[str]) -> str:
    return f"{said}\nFAILED with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _entry(athena: Path, folder: Path) -> str:
    """The id of the entry that `athena memory add` made."""
    words = [athena, "memory", "search", "guidance", "--json"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return re.findall(r'"(?:entry_)?id":\s*"([^"]+)"', done.stdout)[0]


if __name__ == "__main__":
    sys.exit(main())
