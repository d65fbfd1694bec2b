"""Sessions by themselves: how long they hold, and how a request tells where it comes from."""

from __future__ import annotations

import pytest

from folkmoot.web.session import Sessions, comes_from_elsewhere


def test_a_session_ends_with_its_time_and_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    value = Sessions("one").begin()
    headers = {b"cookie": f"folkmoot_session={value}".encode()}
    assert Sessions("one").admits(headers)
    assert not Sessions("two").admits(headers)
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert not Sessions("one").admits(headers)


def test_programs_say_nothing_of_where_they_come_from() -> None:
    assert not comes_from_elsewhere("POST", {b"host": b"moot:8283"})
    assert not comes_from_elsewhere("POST", {b"host": b"moot:8283", b"origin": b"http://moot:8283"})
    assert not comes_from_elsewhere("POST", {b"sec-fetch-site": b"none"})
    assert not comes_from_elsewhere("GET", {b"origin": b"https://evil.example"})
    assert comes_from_elsewhere("POST", {b"host": b"moot:8283", b"origin": b"http://moot:8284"})
