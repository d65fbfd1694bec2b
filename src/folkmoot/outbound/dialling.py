"""Looking up a host that somebody else names, judging all its addresses, and dialling those that were judged."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from folkmoot.errors import AddressRefused, InvalidInput
from folkmoot.outbound.addresses import is_public

MOST_ADDRESSES = 4
"""Addresses of a host that are dialled one after the other, each with its share of the time."""


async def look_up(host: str, *, allow_private: bool) -> Sequence[str]:
    """Return the addresses of a host that may be dialled, each once.

    Raises:
        InvalidInput: the host is no name.
        AddressRefused: one of its addresses is not public.
        OSError: the name could not be resolved.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters
        raise InvalidInput(f"{host!r} is not a host's name.") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise AddressRefused(f"the host {host} resolves to an address that is not public.")
    return addresses[:MOST_ADDRESSES]


async def dial(
    host: str, port: int, *, allow_private: bool, timeout: float, source: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a host, at one of the addresses that were judged.

    Args:
        host: its name or address.
        port: its port.
        allow_private: connect to addresses that are not public, too.
        timeout: seconds for all of it.
        source: the address of this machine to connect from; any when None.

    Raises:
        AddressRefused: one of its addresses is not public.
        InvalidInput: the host is no name.
        OSError: it could not be looked up or does not answer; TimeoutError: not in time.
    """
    async with asyncio.timeout(timeout):
        addresses = await look_up(host, allow_private=allow_private)
    failure: OSError | None = None
    for address in addresses:
        try:
            async with asyncio.timeout(timeout / len(addresses)):
                return await asyncio.open_connection(address, port, local_addr=(source, 0) if source else None)
        except OSError as error:  # TimeoutError among them
            failure = error
    raise failure or OSError(f"{host} has no address")
