"""The arguments of the Python interface in the form that the command has them; wrong ones refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from core.errors import UsageError


def path_of(name: str, value: object) -> Path | None:
    """A path argument. Raises: UsageError for anything that is no path."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or isinstance(value, bytes):
        raise _wrong(name, value, "the path of a file or folder as text, or a pathlib.Path")
    return Path(os.fsdecode(value))


def moment_text(name: str, value: object) -> str | None:
    """A date or a moment as the command's options have it.

    A date, and a moment without a zone at midnight (`pandas.Timestamp("2023-04-28")`, `datetime64`), is that
    whole day; any other moment is a moment, in UTC unless it has a zone.
    Raises: UsageError for anything else.
    """
    import numpy as np

    cure = "text such as '2023-04-28' or '2023-04-28T20:00:00Z', a date, or a moment"
    if value is None or isinstance(value, str):
        return value
    plain = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else value
    if not isinstance(plain, date) or str(plain) == "NaT":  # pandas' NaT is a date too
        raise _wrong(name, value, cure)
    if not isinstance(plain, datetime):
        return plain.isoformat()
    if plain.tzinfo is not None:
        return plain.isoformat()
    if plain.time() == datetime.min.time():
        return plain.date().isoformat()
    return f"{plain.isoformat()}Z"


def names_of(name: str, value: object) -> tuple[str, ...] | None:
    """Symbols: text with commas, or a collection of text. Raises: UsageError for anything else."""
    if value is None:
        return None
    if isinstance(value, str):
        return tuple(value.split(","))
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        raise _wrong(name, value, "symbols as text: ['AAPL', '0050'] or 'AAPL,0050'")
    return tuple(value)


def flag_of(name: str, value: object) -> bool:
    """True or False. Raises: UsageError for anything else: the text "no" would count as true."""
    import numpy as np

    if not isinstance(value, bool | np.bool_):
        raise _wrong(name, value, "True or False")
    return bool(value)


def seed_of(value: object) -> int | None:
    """A seed. Raises: UsageError unless it is a whole number that the settings allow."""
    import numpy as np

    if value is None:
        return None
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= int(value) < 2**63:  # type: ignore[call-overload]
        raise _wrong("seed", value, "a whole number, at least 0 and below 2 ** 63")
    return int(value)  # type: ignore[call-overload, no-any-return]


def params_of(params: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Parameters as one would write them after `--param`; text stays text.

    Raises: UsageError for a value that cannot be written so.
    """
    if params is not None and not isinstance(params, Mapping):
        raise _wrong("params", params, "a dictionary of the constructor's arguments")
    written = []
    for name, value in (params or {}).items():
        try:
            written.append((name, json.dumps(value, ensure_ascii=False, default=_plain)))
        except TypeError:
            cure = "what JSON can hold, or make the strategy yourself: strategy=MyStrategy(...)"
            raise _wrong(f"params[{name!r}]", value, cure) from None
    return tuple(written)


def _plain(value: object) -> Any:
    """A number of numpy as one of Python. Raises: TypeError for anything else, as `json` wants it."""
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


def weights_of(value: object) -> Any:
    """Weights as a path or as they are. Raises: UsageError for what is neither a path nor a frame."""
    import pandas as pd

    if value is None or isinstance(value, pd.DataFrame):
        return value
    if not isinstance(value, str | os.PathLike):
        raise _wrong("weights", value, "a DataFrame (long, or times x symbols), or a path")
    return path_of("weights", value)


def config_path(value: object) -> str | Path:
    """The path of a configuration. Raises: UsageError for what is no configuration at all."""
    if not isinstance(value, str | Path):
        raise _wrong(
            "config",
            value,
            "nested dictionaries, the path of a YAML or JSON file, or an AthenaConfig",
        )
    return value


def _wrong(name: str, value: object, cure: str) -> UsageError:
    kind = type(value).__name__
    article = "an" if kind[0].lower() in "aeiou" else "a"
    text = repr(value)
    found = (
        f"{text}, {article} {kind}" if len(text) <= 80 and "\n" not in text else f"{article} {kind}"
    )
    return UsageError(f"{name} is {found}.", f"Give {cure}.")
