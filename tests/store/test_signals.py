"""What was signalled lately is known for a while, and what is not known any more is said."""

from __future__ import annotations

import pytest

from folkmoot.store import clock, signals
from folkmoot.store.signals import EVERYTHING, MOST_REMEMBERED, REMEMBERED, Signals


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in microseconds, which the test moves."""
    at = [1_000_000_000]
    monkeypatch.setattr(signals.clock, "now", lambda: at[0])
    assert clock.now() == at[0]
    return at


def test_what_was_heard_since_a_moment_is_known(now: list[int]) -> None:
    heard = Signals()
    begun = now[0]
    heard.wake(["block:a", "block:b"])
    now[0] += 5
    heard.wake(["block:b"])
    assert heard.since(begun) == {"block:a", "block:b"}
    assert heard.since(begun + 1) == {"block:b"}
    assert heard.since(begun - 1) == {"block:a", "block:b", EVERYTHING}, "what was before the process"


def test_what_is_too_long_ago_or_too_much_is_everything(now: list[int]) -> None:
    heard = Signals()
    begun = now[0]
    heard.wake(["block:a"])
    now[0] += REMEMBERED + 1
    heard.wake(["block:b"])
    assert heard.since(begun) == {"block:b", EVERYTHING}
    assert heard.since(begun + 1) == {"block:b"}

    crowded = now[0] + 1
    for number in range(MOST_REMEMBERED + 1):
        now[0] += 1
        heard.wake([f"block:{number}"])
    assert EVERYTHING in heard.since(crowded)
    assert heard.since(crowded + 1) == {f"block:{number}" for number in range(1, MOST_REMEMBERED + 1)}
