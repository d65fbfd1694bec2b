"""A request that repeats what was sent before is the request that would have been made from nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from folkmoot.models import sent_before
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    ModelOptions,
    Prompt,
    PromptMessage,
    Reasoning,
    SystemMessage,
    ToolCall,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.models.requests import ModelClient
from folkmoot.models.sent_before import Sent, SentBefore
from folkmoot.settings import Settings

MODELS = ("openai/gpt-4o-mini", "mistral/mistral-large-latest", "vllm/any")
ENVIRON = {
    "OPENAI_API_KEY": "none",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "MISTRAL_API_KEY": "none",
    "MISTRAL_BASE_URL": "http://127.0.0.1:9/v1",
    "VLLM_BASE_URL": "http://127.0.0.1:9",
}
TOOL = ToolSchema("look", "Look something up.", {"type": "object", "properties": {}})
NAMES = st.sampled_from(["a", "b", "c"])


def reply(text: str, names: Sequence[str] = (), *, thinks: bool = False) -> AssistantMessage:
    thoughts = [Reasoning("hm", None, {"system": "openai"})] if thinks else []
    return AssistantMessage(text, thoughts, [ToolCall(name, "look", "{}") for name in names])


TURN: st.SearchStrategy[PromptMessage] = st.one_of(
    st.sampled_from([UserMessage("hi"), UserMessage(["see", Image(url="https://example.org/x.png")]), UserMessage("")]),
    st.just(SystemMessage("a note")),
    st.builds(ToolReturn, NAMES, st.just("look"), st.sampled_from(["found", ""])),
    st.builds(reply, st.sampled_from(["", "so", " "]), st.lists(NAMES, unique=True, max_size=2)),
    st.just(reply("thought", thinks=True)),
)


@pytest.fixture(autouse=True)
def from_the_first_turn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_before, "FEWEST", 1)


def client() -> ModelClient:
    return ModelClient(Settings(_env_file=None), ENVIRON)


def prompt(turns: Sequence[PromptMessage], **rest: Any) -> Prompt:
    return Prompt("Be brief.", turns, "<memory/>", [TOOL], conversation_id="conv-1", **rest)


async def grows(model: str, prompts: Sequence[Prompt]) -> None:
    """Ask with each prompt after the other, and see that each request is what it is without those before it."""
    asked = client()
    for each in prompts:
        anew = await client().preview(model, replace(each, conversation_id=""))
        assert await asked.preview(model, each) == anew
    await asked.aclose()


@pytest.mark.parametrize("model", MODELS)
@example([reply("", ["a"]), ToolReturn("a", "look", "x"), reply("", ["a"]), UserMessage("now"), reply("so")], 1)
@example([UserMessage("hi"), reply(""), SystemMessage("a note"), UserMessage("hm"), reply("so"), UserMessage("x")], 1)
@example([SystemMessage("so far"), UserMessage("hi"), reply("so"), UserMessage("hm"), reply("x"), UserMessage("x")], 1)
@example([UserMessage("hi"), reply(""), UserMessage("still there?"), reply("so"), UserMessage("good")], 1)
@example([reply("", ["a"]), UserMessage("well?"), ToolReturn("a", "look", "x"), UserMessage("so")], 2)
@example([reply("thought", thinks=True), UserMessage("hi"), reply("", ["a"]), ToolReturn("a", "look", "x")], 1)
@settings(max_examples=15)
@given(st.lists(TURN, min_size=1, max_size=9), st.integers(1, 3))
async def test_a_conversation_that_grows_is_sent_as_if_it_were_new(
    model: str, turns: list[PromptMessage], step: int
) -> None:
    await grows(model, [prompt(turns[:count]) for count in range(step, len(turns) + 1, step)])


async def test_an_edit_or_a_compaction_is_seen_in_the_next_request() -> None:
    said = [turn for number in range(20) for turn in (UserMessage(f"question {number}"), reply(f"answer {number}"))]
    edited = [*said[:5], reply("another answer"), *said[6:], UserMessage("and now?")]
    compacted = [SystemMessage("They spoke of numbers."), *said[30:], UserMessage("and now?")]
    other = [prompt(compacted, options=ModelOptions(temperature=0.5)), Prompt("Be long.", compacted, "<memory/>")]
    await grows(MODELS[0], [prompt(said), prompt(edited), prompt(compacted), prompt(said[:9]), *other])


async def test_older_turns_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    asked = client()
    await asked.prepare(MODELS[0])
    from folkmoot.models import calls

    whole: Callable[..., Any] = calls.messages_of

    def counted(prompt: Prompt, *rest: Any) -> Any:
        made.append(len(prompt.messages))
        return whole(prompt, *rest)

    monkeypatch.setattr(calls, "messages_of", counted)
    said = [turn for number in range(30) for turn in (UserMessage(f"question {number}"), reply(f"answer {number}"))]
    for count in (41, 43, 45):
        await asked.preview(MODELS[0], prompt(said[:count]))
    assert made == [41, 4, 4]  # the last reply, which was not settled yet, and what came since
    await asked.aclose()


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_before, "MOST_BYTES", 100)
    kept = SentBefore()
    turn = UserMessage("hi")
    for name in ("one", "two", "three"):
        kept.keep(name, Sent([turn], [{"role": "user", "content": "hi"}], size=40))
    kept.keep("three", Sent([turn], [{"role": "user", "content": "hi"}], size=41))

    def are_kept(name: str) -> bool:
        continuing = kept.continuing(Prompt("", [turn, turn], conversation_id=name))
        return continuing is not None and len(continuing.newer) == 1

    assert [name for name in ("one", "two", "three") if are_kept(name)] == ["two", "three"]
