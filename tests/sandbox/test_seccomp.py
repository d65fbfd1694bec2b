"""The filter of system calls, carried out as the kernel would, also for a machine that the tests do not run on."""

from __future__ import annotations

import struct

import pytest

from folkmoot.sandbox import seccomp

ALLOWED, KILLED, REFUSED, UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X86 = {
    "read": 0,
    "mount": 165,
    "ptrace": 101,
    "clone": 56,
    "socket": 41,
    "socketpair": 53,
    "prctl": 157,
    "unshare": 272,
}
ARM = {
    "read": 63,
    "mount": 40,
    "ptrace": 117,
    "clone": 220,
    "socket": 198,
    "socketpair": 199,
    "prctl": 167,
    "unshare": 97,
}
NUMBERS = {"x86_64": X86, "aarch64": ARM}


def judged(machine: str, number: int, *arguments: int, architecture: int | None = None, network: bool = False) -> int:
    """Return what the machine's filter says of a call."""
    values = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, architecture or ARCHITECTURE[machine], 0, *values)
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine, network=network)))
    place = value = 0
    while True:
        operation, yes, no, constant = code[place]
        place += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
        elif operation == 0x54:
            value &= constant
        elif operation == 0x06:
            return int(constant)
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[operation]
            place += yes if holds else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_leads_out(machine: str) -> None:
    numbers = NUMBERS[machine]
    assert judged(machine, numbers["read"]) == ALLOWED
    for name in ("mount", "ptrace"):
        assert judged(machine, numbers[name]) == REFUSED
    for name, harmless, harmful in (
        ("clone", 17, 17 | 0x10000000),
        ("socket", 1, 2),
        ("socketpair", 1, 16),
        ("prctl", 4, 1),
    ):
        assert judged(machine, numbers[name], harmless) == ALLOWED
        assert judged(machine, numbers[name], harmful) == REFUSED
    assert judged(machine, 435) == judged(machine, 9999) == UNKNOWN
    assert judged(machine, numbers["read"], architecture=0x40000003) == KILLED
    assert judged(machine, numbers["read"] | 0x40000000) == KILLED


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_network_is_tcp_and_udp_over_ipv4(machine: str) -> None:
    numbers = NUMBERS[machine]
    for arguments, allowed in (
        ((2, 1, 0), True),
        ((2, 1 | 0x80000, 6), True),
        ((2, 2 | 0x800, 17), True),
        ((1, 1, 0), True),
        ((2, 3, 0), False),
        ((2, 3, 255), False),
        ((2, 5, 132), False),
        ((2, 1, 132), False),
        ((2, 1, 262), False),
        ((2, 2, 1), False),
        ((10, 1, 0), False),
        ((16, 3, 0), False),
        ((17, 3, 0), False),
    ):
        for network in (False, True):
            expected = ALLOWED if allowed and (network or arguments[0] == 1) else REFUSED
            assert judged(machine, numbers["socket"], *arguments, network=network) == expected, arguments
    for network in (False, True):
        assert judged(machine, numbers["socketpair"], 2, 1, 0, network=network) == REFUSED
        assert judged(machine, numbers["mount"], network=network) == REFUSED
        assert judged(machine, numbers["read"], network=network) == ALLOWED
