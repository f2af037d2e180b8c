"""YAML without its traps: what a text may not hold before it is read.

Owns three refusals. An alias lets 372 bytes stand for more values than any machine holds; YAML 1.1 takes
`16:30` for the number 990 and `010` for 8, which nobody means; and a text nested thousands deep is none.

Source: YAML 1.1, "Integer" and "Floating-Point" language-independent types (base 60, leading 0).
"""

from __future__ import annotations

import re

import yaml

from core.errors import ConfigError

MAX_DEPTH = 50
LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")


def check_yaml(text: str, source: str) -> None:
    """Raises: ConfigError with the line for an alias, a number in base 60 or 8, or too deep a nesting;
    yaml.YAMLError for what is no YAML."""
    open_nodes: list[int | None] = []  # of a mapping how many nodes it has, of a list None
    for event in yaml.parse(text, Loader=LOADER):
        mark = event.start_mark
        where = f"{source}:{mark.line + 1}" if mark is not None and "\n" in text else source
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                f"{where} holds the alias *{event.anchor}.",
                "Write the values out, or quote a text that begins with *.",
            )
        above = open_nodes[-1] if open_nodes else None
        key = above is not None and above % 2 == 0  # a name as it is written, no number
        if isinstance(event, yaml.NodeEvent) and above is not None:
            open_nodes[-1] = above + 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(0 if isinstance(event, yaml.MappingStartEvent) else None)
            if len(open_nodes) > MAX_DEPTH:
                raise ConfigError(f"{where} is nested deeper than {MAX_DEPTH}.", "Correct it.")
        elif isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent) and event.implicit[0] and not key:
            _check_number(event.value, where)


def _check_number(written: str, where: str) -> None:
    for shape, base in ((_BASE_60, 60), (_OCTAL, 8)):
        if shape.fullmatch(written):
            raise ConfigError(
                f"{where} says {written}, which YAML takes for a number in base {base}.",
                f'Write the number itself, or quote a text: "{written}".',
            )
