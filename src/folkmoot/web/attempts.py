"""How often somebody may try to sign in: guessing the key has to be slow."""

from __future__ import annotations

import ipaddress
import time
from collections import deque
from collections.abc import Callable

PER_ADDRESS = 10
"""Failures of one address in `SECONDS` before it has to wait."""

IN_ALL = 100
"""Failures of all addresses together; no more than these are remembered."""

SECONDS = 300.0


class Attempts:
    """The sign-ins that failed lately, in this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Measure time with `now`, in seconds."""
        self._now = now
        self._failures: deque[tuple[float, str]] = deque(maxlen=IN_ALL)

    def wait(self, address: str) -> float:
        """Return the seconds until an address may try again, 0 when it may now."""
        self._forget_old()
        own = [moment for moment, failed in self._failures if failed == _neighbourhood(address)]
        due = self._failures[0][0] if len(self._failures) >= IN_ALL else None
        if len(own) >= PER_ADDRESS:
            due = own[-PER_ADDRESS]
        return 0.0 if due is None else due + SECONDS - self._now()

    def failed(self, address: str) -> None:
        """Remember that an address tried with a wrong key."""
        self._failures.append((self._now(), _neighbourhood(address)))

    def _forget_old(self) -> None:
        while self._failures and self._failures[0][0] <= self._now() - SECONDS:
            self._failures.popleft()


def _neighbourhood(address: str) -> str:
    """Return what is counted as one: an IPv4 address, or the 64-bit network of an IPv6 one, which a single client owns.

    >>> _neighbourhood("192.0.2.7"), _neighbourhood("2001:db8::1:2:3:4"), _neighbourhood("a proxy's word")
    ('192.0.2.7', '2001:db8::/64', 'unknown')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))
