"""JSON as Athena writes it: UTF-8, and null where a number does not exist (NaN, infinity)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePath
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z


def json_bytes(value: Any, pretty: bool = False) -> bytes:
    """One JSON value without a final newline; paths become text, datetimes ISO 8601."""
    options = _OPTIONS | orjson.OPT_INDENT_2 if pretty else _OPTIONS
    try:
        return orjson.dumps(value, default=_plain, option=options)
    except orjson.JSONEncodeError:
        # Half a surrogate pair: a file's name that is no UTF-8, or a text cut in two.
        return orjson.dumps(_whole(value), default=_plain, option=options)


def _whole(value: Any) -> Any:
    """The same value with each half of a surrogate pair written out."""
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_whole(name): _whole(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
