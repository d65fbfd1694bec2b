"""Which addresses lie in the public network, and which text names one that somebody else may have this server ask.

What is not public stands here and is not asked of Python's `ipaddress`, whose list differs between its releases.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from folkmoot.errors import AddressRefused, InvalidInput

if TYPE_CHECKING:
    import httpx2

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_URL = 2083
"""Characters, as the contract has it."""

NOT_PUBLIC_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            # https://www.iana.org/assignments/iana-ipv4-special-registry, all of it
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by a provider's customers; 100.100.100.200 is a cloud's metadata
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local; 169.254.169.254 is most clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; 192.0.0.192 is a cloud's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # multicast tunnels
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "240.0.0.0/4",  # reserved, and broadcast
            # elsewhere
            "224.0.0.0/4",  # multicast
            "168.63.129.16/32",  # Azure's own services, as its machines see them
        ),
    )
)

PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
"""All of IPv6 that is given out for addresses in the public network; the rest is not public."""

NOT_PUBLIC_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            # https://www.iana.org/assignments/iana-ipv6-special-registry, what of it lies in 2000::/3
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID and others
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)

_STANDS_FOR_IPV4 = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped: the IPv4 address itself
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64: where a network has no IPv4, names of IPv4 hosts resolve to these
)
"""IPv6 that leads to the IPv4 address in its last 32 bits."""


def is_public(address: str) -> bool:
    """Tell whether an address (no name) is one of the public network.

    An IPv6 address that stands for an IPv4 one counts as that; 64:ff9b:1::/48, 6to4 and Teredo are never public.

    >>> [is_public(address) for address in ("8.8.8.8", "192.0.0.8", "::ffff:8.8.8.8", "::ffff:10.0.0.1", "fe80::1%1")]
    [True, False, True, False, False]
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not _in_any(ip, NOT_PUBLIC_IPV4)
    if ip.scope_id is not None:
        return False  # an interface of this machine is named
    if _in_any(ip, _STANDS_FOR_IPV4):
        return not _in_any(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF), NOT_PUBLIC_IPV4)
    return ip in PUBLIC_IPV6 and not _in_any(ip, NOT_PUBLIC_IPV6)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_plainly_private(host: str) -> bool:
    """Tell whether a host is this machine or written as an address that is not public, such as 127.1 or 0x7f000001."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not is_public(host if ":" in host else socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:  # a name
        return False


def check_url(text: str, field: str, *, allow_private: bool) -> httpx2.URL:
    """Read an address with the parser that its request is made with, so that the two cannot differ.

    Args:
        text: the address.
        field: what a refusal calls it, such as `callback_url`.
        allow_private: let it be an address that is not public.

    Raises:
        InvalidInput: it is no http or https address, has no host or has credentials in it.
        AddressRefused: its host is written as an address that is not public.
    """
    import httpx2

    if len(text) > LONGEST_URL:
        raise InvalidInput(f"{field}: longer than {LONGEST_URL:,} characters.")
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"{field}: {error}") from error
    host = url.raw_host.decode("ascii")
    if url.scheme not in ("http", "https"):
        raise InvalidInput(f"{field}: has to begin with http:// or https://.")
    if not host or "%" in host:
        raise InvalidInput(f"{field}: has no host.")
    if url.userinfo:
        raise InvalidInput(f"{field}: must not hold a user or a password.")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidInput(f"{field}: {url.port} is not a port.")
    if not allow_private and is_plainly_private(host):
        raise AddressRefused(f"{field}: {host} is not a public address.")
    return url


def _in_any(ip: IpAddress, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(ip in network for network in networks)
