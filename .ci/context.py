"""Copy what `docker build` would send, which is the checkout without what .dockerignore names.

    python .ci/context.py FOLDER

For checking the image's steps where no Docker daemon runs. Patterns are Docker's: from the top folder, `*`
within a name, `**` over folders, a folder that matches goes with all that it holds. `!` is not used here.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def ignored(root: Path = ROOT) -> re.Pattern[str]:
    """What matches a path, relative to the top and with slashes, that is left out."""
    lines = (root / ".dockerignore").read_text().splitlines()
    rules = [line.strip().strip("/") for line in lines if line.strip() and line[0] != "#"]
    return re.compile("|".join(f"(?:{_rule(each)})(?:/.*)?$" for each in rules))


def context(root: Path = ROOT) -> Iterator[Path]:
    """The files that are sent, relative to `root`."""
    left_out = ignored(root)
    waiting = [root]
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            if left_out.match(path.relative_to(root).as_posix()):
                continue
            if path.is_dir() and not path.is_symlink():
                waiting.append(path)
            else:
                yield path.relative_to(root)


def _rule(pattern: str) -> str:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(words.get(part, re.escape(part)) for part in parts)


def main() -> int:
    target = Path(sys.argv[1])
    for path in context():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target / path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
