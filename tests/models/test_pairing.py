from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from folkmoot.models.pairing import UNANSWERED, paired
from folkmoot.models.prompt import AssistantMessage, SystemMessage, ToolCall, ToolReturn, UserMessage

ids = st.sampled_from(["a", "b", "c"])
turns = st.lists(
    st.one_of(
        st.builds(UserMessage, st.just("u")),
        st.builds(SystemMessage, st.just("s")),
        st.builds(ToolReturn, ids, st.just("t"), st.just("r")),
        st.lists(ids, unique=True, max_size=3).map(
            lambda names: AssistantMessage("x", (), [ToolCall(name, "t", "{}") for name in names])
        ),
    ),
    max_size=12,
)


def test_late_answer_moves_behind_its_call() -> None:
    call = AssistantMessage(tool_calls=[ToolCall("a", "t", "{}"), ToolCall("b", "t", "{}")])
    returned = ToolReturn("b", "t", "r")
    assert paired([call, UserMessage("hm"), returned]) == [
        call,
        returned,
        ToolReturn("a", "t", UNANSWERED, failed=True),
        UserMessage("hm"),
    ]


@given(turns)
def test_every_call_is_answered_once_and_directly(given_turns: list[Any]) -> None:
    result = paired(given_turns)
    waiting: list[str] = []
    for turn in result:
        if isinstance(turn, ToolReturn):
            waiting.remove(turn.call_id)
        else:
            assert waiting == []
            waiting = [call.id for call in turn.tool_calls] if isinstance(turn, AssistantMessage) else []
    assert waiting == []
    assert [t for t in result if not isinstance(t, ToolReturn)] == [
        t for t in given_turns if not isinstance(t, ToolReturn)
    ]
    assert paired(result) == result
