"""How a request tells where it comes from, and how often somebody may try to sign in."""

from __future__ import annotations

from folkmoot.server.origins import comes_from_elsewhere
from folkmoot.web.attempts import IN_ALL, PER_ADDRESS, SECONDS, Attempts


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_waits_after_its_failures_and_no_longer() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(PER_ADDRESS):
        assert attempts.wait("192.0.2.7") == 0
        attempts.failed("192.0.2.7")
        clock.now += 1
    assert attempts.wait("192.0.2.7") == SECONDS - PER_ADDRESS
    assert attempts.wait("192.0.2.8") == 0
    clock.now += SECONDS - PER_ADDRESS
    assert attempts.wait("192.0.2.7") == 0


def test_a_network_of_one_client_counts_as_one_address() -> None:
    attempts = Attempts(Clock())
    for number in range(PER_ADDRESS):
        attempts.failed(f"2001:db8::{number}")
    assert attempts.wait("2001:db8::ffff:1") > 0
    assert attempts.wait("2001:db8:0:1::1") == 0


def test_an_address_is_the_same_however_it_is_written_and_what_is_none_counts_together() -> None:
    attempts = Attempts(Clock())
    for _ in range(PER_ADDRESS // 2):
        attempts.failed("192.0.2.7")
        attempts.failed("::ffff:192.0.2.7")
        attempts.failed("a proxy's word")
        attempts.failed("")
    assert attempts.wait("::ffff:192.0.2.7") == attempts.wait("192.0.2.7") > 0
    assert attempts.wait("another word") > 0
    assert attempts.wait("::ffff:192.0.2.8") == 0


def test_many_addresses_together_wait_too_and_are_not_remembered_for_ever() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for number in range(IN_ALL * 3):
        attempts.failed(f"10.0.{number // 256}.{number % 256}")
    assert attempts.wait("192.0.2.7") == SECONDS
    assert len(attempts._failures) == IN_ALL
    clock.now += SECONDS
    assert attempts.wait("192.0.2.7") == 0
    assert not attempts._failures


def test_programs_say_nothing_of_where_they_come_from() -> None:
    assert not comes_from_elsewhere("POST", {b"host": b"moot:8283"})
    assert not comes_from_elsewhere("POST", {b"host": b"moot:8283", b"origin": b"http://moot:8283"})
    assert not comes_from_elsewhere("POST", {b"sec-fetch-site": b"none"})
    assert not comes_from_elsewhere("GET", {b"origin": b"https://evil.example"})
    assert comes_from_elsewhere("POST", {b"host": b"moot:8283", b"origin": b"http://moot:8284"})
