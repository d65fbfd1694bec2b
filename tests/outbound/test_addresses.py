"""Which addresses are public: IANA's registries of special purposes, spelled out, and every spelling of them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InvalidInput
from folkmoot.outbound.addresses import check_url, is_public

# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, of 2025-10, whole
SPECIAL = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10
"""
ELSEWHERE = """
224.0.0.0/4 168.63.129.16/32 100.100.100.200/32 169.254.169.254/32 192.0.0.192/32 fec0::/10 ff00::/8 ::/96
fd00:ec2::254/128 fd20:ce::254/128 4000::/2 8000::/1
"""


@pytest.mark.parametrize("network", (SPECIAL + ELSEWHERE).split())
def test_no_special_network_is_public(network: str) -> None:
    inside = ipaddress.ip_network(network)
    for address in (inside[0], inside[inside.num_addresses // 2], inside[-1]):
        assert not is_public(str(address))
        if isinstance(address, ipaddress.IPv4Address):
            for form in ("::ffff:{}", "64:ff9b::{}", "64:ff9b:1::{}", "::{}", "::ffff:0:{}"):
                assert not is_public(form.format(address)), form
            assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (int(address) << 80) | 1)))
        elif address.is_link_local:
            assert not is_public(f"{address}%eth0")


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "168.63.129.15", "172.15.0.1",
     "172.32.0.1", "192.0.1.0", "192.88.98.1", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111",
     "2001:200::1", "2001:4860::8888", "2a00::1", "3ffe::1", "3fff:1000::", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
)  # fmt: skip
def test_what_lies_beside_is_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_what_is_public_is_so_for_python_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return  # releases differ
    assert address.is_global or not is_public(str(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "10.0.0.1"])
def test_a_zone_names_an_interface_of_this_machine(address: str) -> None:
    if ":" in address:
        assert not is_public(f"{address}%eth0")
    with pytest.raises(InvalidInput):
        check_url(f"http://[{address}%25eth0]/", "url", allow_private=True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1.", "127.1", "127.0.1", "0x7f.1", "0X7F000001", "0177.0.0.1", "017700000001", "2130706433",
     "2130706433.", "0", "0.", "0x0", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::a00:1]",
     "[64:ff9b:1::808:808]", "[2002:808:808::1]", "[2001:0:808:808::1]", "[fec0::1]", "[3fff::1]", "168.63.129.16",
     "0xa83f8110", "192.88.99.1", "192.0.0.8", "192.0.0.192", "0300.0000.0000.0300",
     "１２７.0.0.1", "127．0．0．1", "①②⑦.0.0.1", "localhost",
     "LocalHost.", "db.localhost", "ⓛocalhost"],
)  # fmt: skip
def test_every_spelling_of_a_private_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput, match=r"url: (.* is not a public address|Invalid )"):
        check_url(f"http://{host}:8080/", "url", allow_private=False)
