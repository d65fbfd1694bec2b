"""Tool calls get valid, unique ids and names once: their pieces in a stream carry those of the whole reply."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import Answer, FakeProvider, called, chat, chat_stream, claude, responses

from folkmoot.models.prompt import Prompt, Reply, ToolCallDelta, ToolSchema, UserMessage
from folkmoot.models.requests import ModelClient
from folkmoot.models.tool_call_ids import CallIds, mended_name

CHAT, RESPONSES, ANTHROPIC = "vllm/any", "openai/gpt-5-mini", "anthropic/claude-haiku-4-5"
PROMPT = Prompt("", [UserMessage("Hello?")], tools=[ToolSchema("look", "", {"type": "object"})])
ClientFor = Callable[..., ModelClient]
Calls = list[tuple[str, str, str]]

ODD: dict[str, Calls] = {
    "one id twice": [("same", "look", '{"q": 1}'), ("same", "look", '{"q": 2}')],
    "one id thrice": [
        ("same", "look", '{"q": 1}'),
        ("same", "other", "{}"),
        ("b", "look", "{}"),
        ("same", "look", '{"q": 2}'),
    ],
    "no ids": [("", "look", '{"q": 1}'), ("", "look", '{"q": 2}')],
    "NUL": [("nul\0", "look", "{}"), ("nul\0", "see", "{}")],
    "half a pair": [("half\ud800", "look", "{}")],
    "odd names": [("a", "no such tool!", "{}"), ("b", "", "{}"), ("c", "n" * 200, "{}"), ("d", "nul\0\ud800", "{}")],
}


def in_chat(calls: Calls) -> tuple[Answer, Answer]:
    pieces = [
        {"tool_calls": [{"index": index, "type": "function", "id": id_, "function": {"name": name, "arguments": ""}}]}
        for index, (id_, name, _) in enumerate(calls)
    ]
    pieces += [
        {"tool_calls": [{"index": index, "function": {"arguments": half}}]}
        for index, (_, _, arguments) in enumerate(calls)
        for half in (arguments[:3], arguments[3:])
    ]
    return chat(None, calls), chat_stream(*pieces, finish="tool_calls")


def in_responses(calls: Calls) -> tuple[Answer, Answer]:
    items = [called(f"fc_{place}", *call) for place, call in enumerate(calls)]
    return responses(*items), responses(*items)


def in_anthropic(calls: Calls) -> tuple[Answer, Answer]:
    import json

    blocks = [
        {"type": "tool_use", "id": id_, "name": name, "input": json.loads(arguments)} for id_, name, arguments in calls
    ]
    answer = claude(*blocks, stop="tool_use")
    return answer, answer


@pytest.mark.parametrize("calls", ODD.values(), ids=ODD)
@pytest.mark.parametrize(
    ("handle", "answers"),
    [(CHAT, in_chat), (RESPONSES, in_responses), (ANTHROPIC, in_anthropic)],
    ids=["chat", "responses", "anthropic"],
)
async def test_pieces_carry_the_ids_and_names_of_the_whole_reply(
    handle: str, answers: Callable[[Calls], tuple[Answer, Answer]], calls: Calls, client_for: ClientFor
) -> None:
    whole, streamed = answers(calls)
    async with FakeProvider([whole, streamed]) as provider:
        client = client_for(provider.address, {"OPENAI_API": "responses"})
        replies: list[Any] = [await client.ask(handle, PROMPT)]
        *deltas, last = [item async for item in client.stream(handle, PROMPT)]
    pieces: dict[str, list[ToolCallDelta]] = {}
    for delta in deltas:
        assert isinstance(delta, ToolCallDelta)
        pieces.setdefault(delta.id, []).append(delta)
    assert isinstance(last, Reply)
    told = [
        (call_id, parts[0].name, "".join(part.arguments for part in parts).replace(" ", "") or "{}")
        for call_id, parts in pieces.items()
    ]
    assert told == [(call.id, call.name, call.arguments.replace(" ", "")) for call in last.tool_calls]
    for reply in [*replies, last]:
        ids = [call.id for call in reply.tool_calls]
        assert len(set(ids)) == len(ids) == len(calls)
        assert not any(re.search("[\0\ud800-\udfff]", call_id) for call_id in ids)
        assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", call.name) for call in reply.tool_calls)
        for given, made in zip(calls, ids, strict=True):
            if given[0] in ("a", "b", "c"):
                assert made == given[0]


def test_ids_that_will_do_are_kept_and_an_id_is_given_once() -> None:
    ids = CallIds()
    assert [ids.at(2, "id with spaces/and\nlines"), ids.at(5, "i" * 300)] == ["id with spaces/and\nlines", "i" * 300]
    assert ids.at(2, "something else") == "id with spaces/and\nlines"
    assert ids.known(3) is None
    assert ids.at(3, "i" * 300) not in ("", "i" * 300)


def test_the_calls_of_a_whole_reply_go_by_their_order() -> None:
    ids = CallIds()
    ids.at(4, "second")
    ids.at(1, "first")
    assert [ids.nth(0, "x"), ids.nth(1, "y"), ids.nth(2, "third")] == ["first", "second", "third"]


def test_mended_names() -> None:
    assert [mended_name(name) for name in ("look", " functions.look\n", "ünknown", "", "n" * 70)] == [
        "look",
        "look",
        "_nknown",
        "unnamed",
        "n" * 64,
    ]


@pytest.mark.parametrize("between", [" " * 500_000, "<|" * 250_000])
def test_a_name_of_any_length_is_mended(between: str) -> None:
    assert mended_name(f" functions.look{between}b") == ("look" if "<" in between else "look" + "_" * 60)
