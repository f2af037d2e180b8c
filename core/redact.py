"""Addresses without the secrets in them: what may be cached, recorded, logged and shown.

Owns which parts of an address are secret: the name and password before its host, and the values of
parameters that are called as keys are. Pure; refuses to know who asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

HIDDEN = "***"
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:api_?key|key|token|access_?token|auth|authorization|pass|passwd|password|pwd"
    r"|secret|sig|signature|credential|session|sessionid|jwt|bearer)s?$|apikey$|token$|secret$",
    re.IGNORECASE,
)
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)([^\s/?#'\"<>]*)@")
_HEADER = re.compile(
    r"\b((?:proxy-)?authorization|x-[\w-]*(?:key|token)|(?:set-)?cookie)(['\"]?\s*[:=]\s*)['\"]?"
    r"(?:(?:bearer|basic|token)\s+)?[^\s'\",]+",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"([?&;])([^=&;\s#]+)=([^&;\s#'\"<>]*)")


def secret_name(name: str) -> bool:
    """Whether a parameter or variable is called as secrets are: `api_key`, `FRED_API_KEY`, `password`."""
    return _SECRET_NAME.search(name) is not None


def bare_url(url: str) -> str:
    """An address without name and password, and with the values of secret parameters hidden.

    One that cannot be read as an address loses whatever stands before its last `@`.
    """
    try:
        parts = urlsplit(url)
        query = parts.query
        pairs = parse_qsl(query, keep_blank_values=True)
    except ValueError:
        return without_secrets(url)
    if any(secret_name(name) for name, _ in pairs):
        shown = [(name, HIDDEN if secret_name(name) else value) for name, value in pairs]
        query = urlencode(shown, safe="*{}", quote_via=quote)
    if not parts.netloc and has_user(url):
        return url.rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))


def has_user(url: str) -> bool:
    """Whether a name or password stands before the host."""
    return "@" in (url.partition("://")[2] or url).partition("/")[0]


def without_secrets(text: str) -> str:
    """A text with the secrets of every address and header of a request in it hidden; the rest of it as it
    was."""
    text = _HEADER.sub(lambda found: f"{found[1]}{found[2]}{HIDDEN}", text)
    text = _USER.sub(lambda found: f"{found[1]}", text)
    return _PARAMETER.sub(
        lambda found: f"{found[1]}{found[2]}={HIDDEN if secret_name(found[2]) else found[3]}", text
    )


def without_values(text: str, environment: Mapping[str, str]) -> str:
    """A text without the values of those variables that are called as secrets are, wherever they stand; and
    without what is given to a name that is, in the form of `--set name=value`."""
    for name, value in environment.items():
        if len(value) >= _SHORTEST and secret_name(name):
            text = text.replace(value, HIDDEN)
    return _GIVEN.sub(
        lambda found: f"{found[1]}={HIDDEN}" if secret_name(found[1]) else found[0], text
    )


_SHORTEST = 4
"""A value of fewer characters is no secret, and stands in every text."""
_GIVEN = re.compile(r"([A-Za-z][\w.-]*)=([^\s&;'\"]+)")
