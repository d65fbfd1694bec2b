"""What a process keeps of model calls: whole, as what they add to another one, or not at all."""

from __future__ import annotations

import pytest

from folkmoot.agents.steps import KeptTrace
from folkmoot.agents.trace_keeping import LARGEST, MOST_ON_BASE, TraceKeeping
from folkmoot.models.prompt import Prompt, Reply
from folkmoot.settings import Settings

PROMPT = Prompt("", [])
LONG = "x" * 50_000


def asked(request: str) -> Reply:
    """Return a reply to a request."""
    return Reply("yes", trace={"request": request, "response": "{}"})


def test_a_long_request_is_kept_as_what_it_adds_to_one_that_is_whole() -> None:
    keeping = TraceKeeping(Settings())
    kept: list[KeptTrace | None] = []
    for number in range(MOST_ON_BASE + 3):
        trace = keeping.kept("org", "conversation", PROMPT, asked(LONG + f"and {number}"))
        keeping.stored("conversation", f"step-{number}", trace)
        kept.append(trace)
    assert kept[0] == KeptTrace(LONG + "and 0", "{}")
    assert kept[1] == KeptTrace("1", "{}", "step-0", len(LONG + "and "))
    whole = [number for number, trace in enumerate(kept) if trace is not None and trace.base_step_id is None]
    assert whole == [0, MOST_ON_BASE + 1]


def test_what_was_not_stored_is_no_request_to_add_to() -> None:
    keeping = TraceKeeping(Settings())
    for _ in range(2):  # a step that is tried again
        assert keeping.kept("org", "conversation", PROMPT, asked(LONG)) == KeptTrace(LONG, "{}")


def test_another_conversation_or_a_request_that_begins_otherwise_is_kept_whole() -> None:
    keeping = TraceKeeping(Settings())
    keeping.stored("conversation", "step-1", keeping.kept("org", "conversation", PROMPT, asked(LONG)))
    for conversation, request in (("other", LONG), ("conversation", "y" + LONG)):
        assert keeping.kept("org", conversation, PROMPT, asked(request)) == KeptTrace(request, "{}")


@pytest.mark.parametrize(("which", "most", "kept"), [("recent", 100, 1), ("all", 0, 3), ("off", 100, 0)])
def test_a_process_keeps_no_more_than_there_may_be_until_the_oldest_are_forgotten(
    which: str, most: int, kept: int
) -> None:
    settings = Settings.model_validate({"trace": which, "recent_traces_size": most})
    keeping = TraceKeeping(settings)
    requests = ["a" * 60, "b" * 60, "c" * 60]
    found = [keeping.kept("org", "conversation", PROMPT, asked(request)) for request in requests]
    assert sum(trace is not None for trace in found) == kept
    assert (keeping.kept("other", "conversation", PROMPT, asked("d" * 60)) is not None) == (kept > 0)
    keeping.forget_added()
    assert (keeping.kept("org", "conversation", PROMPT, asked("e" * 60)) is not None) == (kept > 0)
    assert (keeping.kept("org", "conversation", PROMPT, asked("f" * LARGEST)) is not None) == (which == "all")
