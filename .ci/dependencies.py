"""What Athena's dependencies are, in which versions it is tested, and under which licences.

    python .ci/dependencies.py --write     constraints.txt and docs/dependencies.md, from this environment
    python .ci/dependencies.py             exit 1 where they fall short, or a GPL comes in

It follows pyproject.toml through what is installed here, so the environment must have the extra `test`.
Run it with --write only after `.ci/run` passed with these versions.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
TABLE = ROOT / "docs" / "dependencies.md"
OURS = "athena-trading-agent"
COPYLEFT = re.compile(
    r"(?<![A-Za-z])A?GPL|(?<!Lesser )(?<!Library )General Public License|Affero", re.IGNORECASE
)
TEXTS = {
    "GPL": "GNU GENERAL PUBLIC LICENSE",
    "Apache-2.0": "Apache License Version 2.0",
    "BSD": "Redistribution and use in source and binary forms, with or without modification, are permitted",
    "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
}
HEADER = """\
# The versions that CI and the image install; `pip install -c constraints.txt -e '.[test]'`.
# Written by `python .ci/dependencies.py --write`; `.ci/newest` tries what is newer.
"""
PROSE = """\
# Dependencies and their licences

Written by `python .ci/dependencies.py --write` from an environment in which `.ci/run` passed (Linux,
x86-64); `tests/test_dependencies.py` holds that it names all that is declared and that nothing under the
GPL or AGPL comes with any extra. The licence is what each distribution says of itself: its expression, else
its classifiers, its field, or the words of its licence file. On other platforms, and where torch comes with
CUDA, pip adds packages that are not listed (`colorama`, `nvidia-*`).

"""


def declared() -> dict[str, list[Requirement]]:
    """Our requirements by extra; "base" are those that everybody gets."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {"base": [Requirement(line) for line in project["dependencies"]]}
    for extra, lines in project["optional-dependencies"].items():
        found[extra] = [Requirement(line) for line in lines]
    return found


def closure(extra: str) -> set[str]:
    """Every distribution that an extra (or "base") brings here. Raises: SystemExit for one not installed."""
    groups = declared()
    found: set[tuple[str, str]] = set()
    waiting = [(each, "") for each in groups[extra]]
    while waiting:
        requirement, of_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *sorted(requirement.extras)):
            if name == OURS:
                waiting += [(each, "") for each in groups.get(wanted, [])]
            elif (name, wanted) not in found:
                found.add((name, wanted))
                waiting += [(Requirement(line), wanted) for line in installed(name).requires or ()]
    return {name for name, _ in found}


def installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise SystemExit(f"{name} is not installed: pip install -e '.[test]' first.") from None


def licence(name: str) -> str:
    """What a distribution says of its licence, on one line."""
    meta = installed(name).metadata
    if meta["License-Expression"]:
        return str(meta["License-Expression"])
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in meta.get_all("Classifier") or ()
        if each.startswith("License :: ") and not each.endswith("OSI Approved")
    ]
    if classifiers:
        return ", ".join(classifiers)
    lines = (meta["License"] or "").strip().splitlines()
    return lines[0].strip() if lines else _by_text(name)


def _by_text(name: str) -> str:
    """For a distribution that says nothing in its fields: by the words of its licence file."""
    texts = [
        " ".join((file.read_text() or "").split())
        for file in installed(name).files or ()
        if re.match(r"(LICEN[CS]E|COPYING)", file.name.upper())
    ]
    for said, words in TEXTS.items():
        if len(texts) == 1 and words in texts[0]:
            return f"{said} (by its licence file)"
    return "not stated"


def by_group(groups: Collection[str] = ()) -> dict[str, list[str]]:
    """Every distribution, and the extras that bring it: "base" alone where everybody gets it."""
    brought = {extra: closure(extra) for extra in groups or declared()}
    names = sorted(set().union(*brought.values()))
    return {
        name: ["base"]
        if name in brought["base"]
        else [extra for extra, found in brought.items() if name in found]
        for name in names
    }


def constraints() -> str:
    lines = [f"{name}=={Version(installed(name).version).public}\n" for name in by_group()]
    return HEADER + "".join(lines)


def table() -> str:
    rows = [
        f"| {name} | {Version(installed(name).version).public} | {licence(name)} | {', '.join(groups)} |\n"
        for name, groups in by_group().items()
    ]
    return f"{PROSE}| distribution | version | licence | brought by |\n|---|---|---|---|\n{''.join(rows)}"


def faults() -> Iterator[str]:
    """What does not hold, one sentence each."""
    pinned = set(re.findall(r"^([a-z0-9-]+)==", CONSTRAINTS.read_text(), re.MULTILINE))
    listed = dict(
        re.findall(r"^\| ([a-z0-9-]+) \| [^|]+ \| ([^|]+) \|", TABLE.read_text(), re.MULTILINE)
    )
    for extra, requirements in declared().items():
        for name in map(canonicalize_name, (each.name for each in requirements)):
            if name != OURS and (name not in pinned or name not in listed):
                yield f"{name} ({extra}) is declared, and not in constraints.txt and {TABLE.name}."
    for name, groups in by_group(_here()).items():
        if name not in pinned:
            yield f"constraints.txt does not name {name} ({', '.join(groups)})."
        if name not in listed:
            yield f"docs/dependencies.md does not list {name} ({', '.join(groups)})."
        if COPYLEFT.search(licence(name)):
            yield f"{name} is under {licence(name)}, and {', '.join(groups)} brings it."
    for name, said in listed.items():
        if COPYLEFT.search(said):
            yield f"docs/dependencies.md lists {name} under {said}."


def _here() -> list[str]:
    """The groups that are installed in this environment."""
    found = []
    for extra, requirements in declared().items():
        try:
            for each in requirements:
                distribution(OURS if canonicalize_name(each.name) == OURS else each.name)
        except PackageNotFoundError:
            continue
        found.append(extra)
    return found


def main() -> int:
    if "--write" in sys.argv[1:]:
        CONSTRAINTS.write_text(constraints())
        TABLE.write_text(table())
    found = list(faults())
    for line in found or [f"{len(by_group(_here()))} distributions, all listed."]:
        sys.stdout.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
