"""Which machines a server may send us on to: never into a private network that the user did not name.

Owns the rule; `http.py` asks it before every redirect to another host and then connects to the address
that was judged, so that a name which resolves anew in between changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from core.errors import DataError


async def resolved(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order to try them; none when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))


async def public_address(host: str, port: int, named: frozenset[str], via: str) -> str:
    """The address of a host to connect to, after a redirect from `via`.

    `named` are the hosts that the user named; theirs are allowed whatever they are.
    Raises: DataError when the host is unknown, or when one of its addresses is private.
    """
    found = await resolved(host, port)
    if not found:
        raise DataError(
            f"{via} sends on to {host}, which is not known.",
            "Check the address, or try again later.",
        )
    allowed = {each for name in named for each in await resolved(name, port)}
    for each in found:
        if each not in allowed and not _public(each):
            raise DataError(
                f"{via} sends on to {host} ({each}), which is no public address.",
                "Name that address yourself if you mean it.",
            )
    return found[0]


def _public(address: str) -> bool:
    """Whether an address belongs to the internet: not this machine, a local network, or a cloud's own."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is not None:
            return found.ipv4_mapped is not None and inner.is_global
        if found in _NAT64:
            return _public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
    return found.is_global and not found.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
