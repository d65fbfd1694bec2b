"""What leaves a context and what is shown of it: the pure parts, for any conversation that there can be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from folkmoot.agents.approvals import request_message
from folkmoot.agents.compaction import CompactionSettings, Extent, Summary, choose_cut, units_of
from folkmoot.agents.context import to_prompt_messages
from folkmoot.agents.context_window import (
    IMAGE_SIZE,
    SHORTEST,
    Scale,
    clip,
    clipped,
    limit_of,
    size_of,
    size_of_message,
    size_of_messages,
)
from folkmoot.agents.tool_calls import Outcome, call_message, return_message
from folkmoot.conversations.conversations import Counted
from folkmoot.conversations.messages import Message
from folkmoot.models.pairing import UNANSWERED, paired
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    Prompt,
    PromptMessage,
    SystemMessage,
    ToolCall,
    ToolReturn,
    UserMessage,
)

texts = st.text(max_size=400)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """A conversation as it is stored: steps with calls, an approval here and there, one perhaps still open."""
    messages: list[Message] = []
    steps = draw(st.integers(0, 8))
    for number in range(steps):
        step, run = f"step-{number}", f"run-{number // 3}"
        if draw(st.booleans()):
            messages.append(Message("user_message", {"content": draw(texts)}, run_id=run, step_id=step))
        if draw(st.booleans()):
            messages.append(Message("assistant_message", {"content": draw(texts)}, run_id=run, step_id=step))
        calls = [ToolCall(f"call-{number}-{place}", "tool", "{}") for place in range(draw(st.integers(0, 3)))]
        waits = bool(calls) and draw(st.booleans())
        if waits:
            messages.append(request_message(calls, run, step))
            if number == steps - 1 and draw(st.booleans()):
                break
            messages.append(Message("approval_response_message", {"approve": True}, run_id=run, step_id=step))
        else:
            messages += [call_message(call, run, step) for call in calls]
        messages += [return_message(call, Outcome(draw(texts)), run, step) for call in calls]
    return messages


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    conversations(), st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 30), st.integers(0, 9), st.booleans()
)
def test_a_cut_parts_no_step_no_call_from_its_return_and_no_open_approval(
    messages: list[Message], keep: int, room: int, most: int, current: int, spare_last: bool
) -> None:
    units = units_of(messages)
    assert [message for unit in units for message in unit.messages] == messages
    kept_part, whole_room = Extent(keep, most), Extent(room, most)
    cut = choose_cut(units, kept_part, whole_room, current=min(current, len(units)), spare_last=spare_last)
    left = [message for unit in units[:cut] for message in unit.messages]
    kept = [message for unit in units[cut:] for message in unit.messages]
    assert {message.step_id for message in left}.isdisjoint(message.step_id for message in kept)
    for part in (left, kept):
        made = to_prompt_messages(part)
        answered = [turn for turn in paired(made) if isinstance(turn, ToolReturn)]
        assert len(answered) == sum(len(turn.tool_calls) for turn in made if isinstance(turn, AssistantMessage))
        if part is left:
            assert not any(turn.content == UNANSWERED for turn in answered)
    if units and units[-1].open_calls:
        assert cut < len(units)
    can_leave = len(units) - (spare_last or bool(units and units[-1].open_calls))
    assert (cut >= 1) is (can_leave >= 1)


def unit(size: int, run: str = "") -> Message:
    return Message("user_message", {"content": "x" * (size - 16)}, run_id=run or None)


@pytest.mark.parametrize(
    ("keep", "room", "current", "spare_last", "cut"),
    [
        pytest.param((250, 5), (1000, 5), 5, False, 3, id="the newest that fit the share stay"),
        pytest.param((1000, 5), (1000, 5), 5, False, 1, id="at least one leaves"),
        pytest.param((0, 5), (1000, 5), 5, False, 5, id="everything leaves"),
        pytest.param((0, 5), (1000, 5), 5, True, 4, id="the last one is still to be answered"),
        pytest.param((0, 5), (1000, 5), 2, True, 2, id="the turn under way stays when there is room"),
        pytest.param((0, 5), (250, 5), 2, True, 4, id="a turn too long for the window keeps half of the room"),
        pytest.param((400, 5), (150, 5), 5, False, 4, id="the share does not go beyond the room"),
        pytest.param((1000, 2), (1000, 4), 5, False, 3, id="the newest that are few enough stay"),
        pytest.param((0, 0), (1000, 3), 2, True, 2, id="a turn of as many messages as may be stays"),
        pytest.param((0, 0), (1000, 2), 2, True, 4, id="a turn of too many messages keeps half as many"),
    ],
)
def test_what_leaves(keep: tuple[int, int], room: tuple[int, int], current: int, spare_last: bool, cut: int) -> None:
    units = units_of([unit(100) for _ in range(5)])
    assert [each.size for each in units] == [100] * 5
    assert choose_cut(units, Extent(*keep), Extent(*room), current=current, spare_last=spare_last) == cut


# -- measuring and clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counted", "bytes_per_token"),
    [
        pytest.param(Counted(), 4.0, id="before the first report"),
        pytest.param(Counted(1000, 3300), 3.3, id="as the provider counts"),
        pytest.param(Counted(0, 3300), 4.0, id="a server that reports nothing"),
        pytest.param(Counted(100, 50_000), 4.0, id="a report that cannot be true"),
    ],
)
def test_tokens_are_told_from_what_the_provider_counted(counted: Counted, bytes_per_token: float) -> None:
    scale = Scale.of(counted)
    assert scale.bytes_per_token == pytest.approx(bytes_per_token)
    assert scale.tokens(scale.size(1000)) == pytest.approx(1000, abs=1)


def test_a_prompt_leaves_room_for_the_reply() -> None:
    assert limit_of(10_000, None) == 9_000
    assert limit_of(10_000, 4_000) == 6_000
    assert limit_of(10_000, 100_000) == 5_000


calls = st.builds(
    ToolCall, st.just("c"), st.just("tool"), st.one_of(texts, st.dictionaries(texts, texts, max_size=3).map(json.dumps))
)
any_turn = st.one_of(
    st.builds(UserMessage, texts),
    st.builds(UserMessage, st.lists(st.one_of(texts, st.just(Image(url="u"))), max_size=3)),
    st.builds(SystemMessage, texts),
    st.builds(ToolReturn, st.just("c"), st.just("tool"), texts),
    st.builds(AssistantMessage, text=texts, tool_calls=st.lists(calls, max_size=2)),
)


@given(texts, st.integers(SHORTEST, 600))
def test_a_clipped_text_has_its_beginning_and_its_end(text: str, size: int) -> None:
    short = clip(text * 3, size)
    assert size_of(short) <= size
    if size_of(text * 3) <= size:
        assert short == text * 3
    elif text.isascii():
        assert short.startswith((text * 3)[:40])
        assert short.endswith((text * 3)[-10:])


@given(st.lists(any_turn, max_size=8), st.integers(0, 5000))
def test_clipped_turns_are_the_same_turns_and_have_the_size_if_they_can(turns: list[PromptMessage], size: int) -> None:
    short = list(clipped(Prompt("", turns), size).messages)
    assert [type(turn) for turn in short] == [type(turn) for turn in turns]
    assert sum(map(size_of_message, short)) <= max(size_of_messages(turns), size)
    if size_of_messages(turns) <= size:
        assert short == turns
    for before, after in zip(turns, short, strict=True):
        if isinstance(before, AssistantMessage) and isinstance(after, AssistantMessage):
            assert [call.id for call in after.tool_calls] == [call.id for call in before.tool_calls]
            for old, new in zip(before.tool_calls, after.tool_calls, strict=True):
                assert new == old or isinstance(json.loads(new.arguments), dict)


def test_the_longest_texts_are_cut_first() -> None:
    turns = [UserMessage("short"), UserMessage("x" * 9000), ToolReturn("c", "tool", "y" * 700)]
    short = clipped(Prompt("", turns), 2000).messages
    assert (short[0], short[2]) == (turns[0], turns[2])
    assert 1500 < size_of_messages(short) <= 2000


def test_arguments_that_are_cut_stay_an_object_whatever_the_model_wrote() -> None:
    long, deep = "x" * 9000, "[" * 50_000
    for arguments, kept in (
        (json.dumps({"label": "notes", "count": 3, "text": long, "list": [long]}), {"label": "notes", "count": 3}),
        (f'{{"label": {long}', {}),
        (f'{{"label": {deep}', {}),
        (json.dumps([long]), {}),
    ):
        turns = [AssistantMessage("", tool_calls=[ToolCall("c", "tool", arguments)])]
        (short,) = clipped(Prompt("", turns), 2000).messages
        assert isinstance(short, AssistantMessage)
        assert size_of_messages([short]) < 2100, "with what JSON adds"
        assert kept.items() <= json.loads(short.tool_calls[0].arguments).items()


def test_pictures_of_tools_count_and_go_when_there_is_no_room() -> None:
    picture = Image(data="AAAA", media_type="image/png")
    turns = [ToolReturn("c", "tool", "(picture 1)", pictures=[picture])]
    assert size_of_messages(turns) > IMAGE_SIZE
    assert clipped(Prompt("", turns), 2 * IMAGE_SIZE).messages == turns
    assert clipped(Prompt("", turns), 500).messages == [ToolReturn("c", "tool", "(picture 1)")]


# -- summaries and settings ------------------------------------------------------------------------------------


@given(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=60).map(str.strip),
    st.integers(0, 20_000),
    st.text(max_size=60).map(str.strip),
)
def test_a_summary_is_read_as_it_was_written(text: str, left_out: int, request: str) -> None:
    assert Summary.parse(Summary(text, left_out, request).render()) == Summary(text, left_out, request)


def test_nothing_is_shown_while_no_message_has_left() -> None:
    assert Summary.parse(None).to_prompt_messages() == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" + "\n" * 300_000 + "b", id="empty lines"),
        pytest.param("<request_being_answered>\n" * 20_000 + "b", id="openings"),
        pytest.param("(,, earlier messages were left out; search them with conversation_search)", id="no number"),
        pytest.param(
            "(" + "9" * 5000 + " earlier messages were left out; search them with conversation_search)", id="digits"
        ),
    ],
)
def test_a_summary_of_odd_words_is_read_as_it_is(text: str) -> None:
    assert Summary.parse(text) == Summary(text)


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        (None, CompactionSettings()),
        ({"mode": "all"}, CompactionSettings(everything=True)),
        ({"mode": "self_compact_sliding_window"}, CompactionSettings(by_itself=True)),
        ({"mode": "unheard of", "sliding_window_percentage": 7, "model": ""}, CompactionSettings()),
        ({"clip_chars": None, "sliding_window_percentage": 0.5}, CompactionSettings(longest=None, keep=0.5)),
    ],
)
def test_settings_that_make_no_sense_are_as_if_they_were_not_there(
    given_settings: Any, expected: CompactionSettings
) -> None:
    assert CompactionSettings.read(given_settings) == expected
