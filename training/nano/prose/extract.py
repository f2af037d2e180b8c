"""How the prose of `athena-olmoe-nano` was taken from three Debian packages.

    mkdir debs && cd debs && apt-get download wordnet-base dict-devil dict-jargon
    for f in *.deb; do dpkg-deb -x "$f" "${f%%_*}"; done
    python -m training.nano.prose.extract debs

Owns the cleaning of each source into documents; the texts that come out are shipped beside this file, so a
build needs no network. README.md beside it names sources and licences. Refuses to know tokens and models.
"""

from __future__ import annotations

import gzip
import lzma
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

GLOSSES_PER_DOCUMENT = 12
"""WordNet orders entries by subject, so that a run of glosses reads like a page about one."""

_ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "...", "\u00a0": " "}  # noqa: RUF001
)


def plain(text: str) -> str:
    """ASCII, single spaces; what has no ASCII form is left out."""
    text = text.translate(_ASCII).encode("ascii", "ignore").decode("ascii")
    return " ".join(text.split())


def wordnet(folder: Path) -> Iterator[str]:
    """Documents of `word, synonym: gloss` lines in WordNet's order, of the entries that have an example
    sentence: the others are definitions in key words, and rarely prose."""
    lines: list[str] = []
    for part in ("noun", "verb", "adj", "adv"):
        path = folder / "wordnet-base/usr/share/wordnet" / f"data.{part}"
        for line in path.read_text(encoding="latin-1").splitlines():
            if line.startswith("  "):
                continue
            head, _, gloss = line.partition("|")
            fields = head.split()
            if '"' not in gloss:
                continue
            count = int(fields[3], 16)
            words = [fields[4 + 2 * index].replace("_", " ") for index in range(min(count, 3))]
            names = ", ".join(re.sub(r"\((a|p|ip)\)$", "", word) for word in words)
            lines.append(plain(f"{names}: {gloss}"))
    for start in range(0, len(lines), GLOSSES_PER_DOCUMENT):
        yield "\n".join(lines[start : start + GLOSSES_PER_DOCUMENT])


def dictionary(path: Path) -> Iterator[str]:
    """One document per entry of a dictd text, paragraphs unwrapped; headers, links and stubs dropped."""
    text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
    for entry in re.split(r"\n\n+(?=\S)", text):
        if entry.lstrip().startswith("00-database") or "http" in entry:
            continue
        cleaned = plain(re.sub(r"[{}_]", "", entry))
        if len(cleaned) >= 120:
            yield cleaned


def write(path: Path, documents: Iterable[str]) -> None:
    text = "\n\n".join(documents).encode()
    path.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def main(folder: Path) -> None:
    here = Path(__file__).parent
    dicts = {"devil": "dict-devil", "jargon": "dict-jargon"}
    write(here / "wordnet.txt.xz", wordnet(folder))
    for name, package in dicts.items():
        source = folder / package / "usr/share/dictd" / f"{name}.dict.dz"
        write(here / f"{name}.txt.xz", dictionary(source))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
