"""Answers a little off their API's schema, whole and streamed: read if they can be, never taken for whole if not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from fake_provider import Answer, Asked, FakeProvider, chat, claude, failure, gemini, responses, said

from folkmoot.errors import ProviderError, ProviderRateLimit, ProviderRejected
from folkmoot.models.prompt import Prompt, ReasoningDelta, Reply, TextDelta, ToolCallDelta, ToolSchema, UserMessage
from folkmoot.models.requests import ModelClient
from folkmoot.outbound import bounded

NewClient = Callable[..., ModelClient]
TOOL = ToolSchema("look", "Look.", {"type": "object", "properties": {}})
PROMPT = Prompt("You are.", [UserMessage("hello")], tools=[TOOL])
GRIN = "\U0001f600"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def piece(index: int | None, arguments: Any, **rest: Any) -> dict[str, Any]:
    name = {"name": rest.pop("name")} if "name" in rest else {}
    place = {} if index is None else {"index": index}
    return chunk(tool_calls=[{**place, **rest, "function": {**name, "arguments": arguments}}])


def stream(*events: Any, finish: str | None = "stop", done: bool = True) -> Answer:
    return Answer(events=(*events, *([chunk(finish)] if finish else []), *(["[DONE]"] if done else [])))


def odd_call(**changes: Any) -> Answer:
    """Return a whole answer with one call to `look`, changed; what is None is left out."""
    answer = chat(None, [("c1", "look", '{"at": 1}')])
    call = answer.body["choices"][0]["message"]["tool_calls"][0]
    call |= changes
    for name, value in changes.items():
        if value is None:
            del call[name]
    return answer


def odd_message(**message: Any) -> Answer:
    return with_choice(chat(None), message={"role": "assistant", "content": None, **message})


def with_body(answer: Answer, **changes: Any) -> Answer:
    return Answer({**answer.body, **changes})


def with_choice(answer: Answer, **changes: Any) -> Answer:
    return Answer({**answer.body, "choices": [{**answer.body["choices"][0], **changes}]})


@dataclass
class Heard:
    """What came of an answer: the whole of it, and what its pieces add up to."""

    reply: Reply
    text: str
    thought: str
    calls: list[tuple[str, str]]


async def ask(client: ModelClient, model: str, *, streamed: bool) -> Heard:
    if not streamed:
        reply = await client.ask(model, PROMPT)
        thought = "".join(part.text for part in reply.reasoning)
        return Heard(reply, reply.text, thought, [(call.name, call.arguments) for call in reply.tool_calls])
    text, thought, calls, whole = "", "", dict[str, list[str]](), None
    async with aclosing(client.stream(model, PROMPT)) as parts:
        async for part in parts:
            match part:
                case TextDelta():
                    text += part.text
                case ReasoningDelta():
                    thought += part.text
                case ToolCallDelta():
                    calls.setdefault(part.id, [part.name or "", ""])[1] += part.arguments
                case Reply():
                    whole = part
    assert whole is not None
    assert whole.text == text, "the stream said something else than what is kept"
    assert [(call.id, call.name, call.arguments) for call in whole.tool_calls] == [
        (call_id, name, arguments) for call_id, (name, arguments) in calls.items()
    ]
    return Heard(whole, text, thought, [(name, arguments) for name, arguments in calls.values()])


LOOK = ("look", '{"at": 1}')
LOOK_ON = ("look", '{"at": 2}')
OBJECT = {"name": "look", "arguments": {"at": 1}}
NO_CHOICE = {**chunk(), "choices": []}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}]

READABLE: dict[str, tuple[Answer, str, str, Sequence[tuple[str, str]]]] = {
    # name: the answer, then its text, thought and calls
    "arguments are an object": (odd_call(function=OBJECT), "", "", [LOOK]),
    "a call without id": (odd_call(id=None), "", "", [LOOK]),
    "a call without type": (odd_call(type=None), "", "", [LOOK]),
    "a numeric id": (odd_call(id=7), "", "", [LOOK]),
    "usage of nulls": (with_body(chat("hi"), usage={"prompt_tokens": None, "completion_tokens": None}), "hi", "", []),
    "usage of text": (with_body(chat("hi"), usage="much"), "hi", "", []),
    "no finish reason, whole": (with_choice(chat("hi"), finish_reason=None), "hi", "", []),
    "a refusal": (chat(None, refusal="I cannot."), "I cannot.", "", []),
    "invalid UTF-8": (Answer(json.dumps(chat("caf?").body).encode().replace(b"?", b"\xc3")), "caf\ufffd", "", []),
    "half a character": (chat("a\ud83d"), "a\ufffd", "", []),
    "a thought in tags": (chat("<think>\nhm</think>\n\nhi"), "hi", "hm", []),
    "a lone closing tag": (chat("hm</think>\n\nhi"), "hi", "hm", []),
    "a thought that is not closed": (chat("<think>hm"), "", "hm", []),
    "a tag in quotes": (chat("write `</think>` behind it"), "write `</think>` behind it", "", []),
    "streamed arguments as an object": (stream(piece(0, {"at": 1}, id="c1", name="look")), "", "", [LOOK]),
    "streamed call without id": (stream(piece(0, '{"at": 1}', name="look")), "", "", [LOOK]),
    "streamed usage of nulls": (
        stream(chunk(content="hi"), {**chunk(), "choices": [], "usage": {"prompt_tokens": None}}),
        "hi",
        "",
        [],
    ),
    "parallel calls that all have index 0": (
        stream(
            piece(0, "", id="c1", name="look"),
            piece(0, '{"at"'),
            piece(0, ": 1}"),
            piece(0, "", id="c2", name="look"),
            piece(0, '{"at": 2}'),
        ),
        "",
        "",
        [LOOK, ("look", '{"at": 2}')],
    ),
    "parallel calls with index 0 and no id": (
        stream(piece(0, '{"at": 1}', name="look"), piece(0, '{"at": 2}', name="look")),
        "",
        "",
        [LOOK, ("look", '{"at": 2}')],
    ),
    "parallel calls without index": (
        stream(
            piece(None, '{"at": 1}', id="a", name="look"),
            piece(None, "{", id="b", name="look"),
            piece(None, "}", id="b"),
        ),
        "",
        "",
        [LOOK, ("look", "{}")],
    ),
    "a name with every piece": (
        stream(*(piece(0, text, id="c1", name="look") for text in ("", '{"at"', ": 1}"))),
        "",
        "",
        [LOOK],
    ),
    "a name with every piece and no id": (
        stream(*(piece(0, text, name="look") for text in ('{"at"', ": 1}"))),
        "",
        "",
        [LOOK],
    ),
    "an id of its own for every piece": (
        stream(piece(0, "", id="c1", name="look"), piece(0, '{"at"', id="c2"), piece(0, ": 1}", id="c3")),
        "",
        "",
        [LOOK],
    ),
    "one id for two calls": (
        stream(piece(0, '{"at": 1}', id="c", name="look"), piece(0, '{"at": 2}', id="c", name="look")),
        "",
        "",
        [LOOK, LOOK_ON],
    ),
    "one id for two calls with an index each": (
        stream(
            piece(0, '{"at": 1}', id="c", name="look"), piece(1, '{"at"', id="c", name="look"), piece(1, ": 2}", id="c")
        ),
        "",
        "",
        [LOOK, LOOK_ON],
    ),
    "a call that comes again under another index": (
        stream(
            piece(0, '{"at"', id="c", name="look"),
            piece(0, ": 1}", id="c"),
            piece(1, "", id="c", name="look"),
            piece(1, '{"at": 1}', id="c"),
        ),
        "",
        "",
        [LOOK],
    ),
    "a call whose rest comes under another index": (
        stream(piece(0, '{"at"', id="c", name="look"), piece(1, '{"at": 1}', id="c", name="look")),
        "",
        "",
        [LOOK],
    ),
    "all arguments again at the end": (
        stream(piece(0, '{"at"', id="c", name="look"), piece(0, ": 1}"), piece(0, '{"at": 1}', id="c", name="look")),
        "",
        "",
        [LOOK],
    ),
    "no arguments, and then some": (
        stream(piece(0, "{}", id="c", name="look"), piece(0, '{"at"'), piece(0, ": 1}")),
        "",
        "",
        [LOOK],
    ),
    "no arguments": (stream(piece(0, "", id="c", name="look")), "", "", [("look", "{}")]),
    "arguments of null": (stream(piece(0, None, id="c", name="look")), "", "", [("look", "{}")]),
    "calls without arguments and ids": (
        stream(piece(None, "{}", name="look"), piece(None, "{}", name="see")),
        "",
        "",
        [("look", "{}"), ("see", "{}")],
    ),
    "a name with what gpt-oss writes around it": (
        odd_call(function={"name": "functions.look<|channel|>commentary", "arguments": '{"at": 1}'}),
        "",
        "",
        [LOOK],
    ),
    "a streamed name with what gpt-oss writes around it": (
        stream(piece(0, '{"at": 1}', id="c", name="look<|channel|>commentary")),
        "",
        "",
        [LOOK],
    ),
    "an emoji cut in two": (stream(chunk(content="a \ud83d"), chunk(content="\ude00 b")), f"a {GRIN} b", "", []),
    "an emoji cut in a thought": (
        stream(chunk(reasoning_content="\ud83d"), chunk(reasoning_content="\ude00"), chunk(content="b")),
        "b",
        GRIN,
        [],
    ),
    "an emoji cut in arguments": (
        stream(piece(0, '{"at": "\ud83d', id="c1", name="look"), piece(0, '\ude00"}')),
        "",
        "",
        [("look", f'{{"at": "{GRIN}"}}')],
    ),
    "a character whose bytes are cut": (
        stream(
            b'data: {"choices": [{"index": 0, "delta": {"content": "caf\xc3"}}]}\n\n',
            b'data: {"choices": [{"index": 0, "delta": {"content": "\xa9"}}]}\n\n',
        ),
        "caf\u00e9",
        "",
        [],
    ),
    "invalid UTF-8 in a stream": (
        stream(b'data: {"choices": [{"index": 0, "delta": {"content": "a\xff"}}]}\n\n'),
        "a\ufffd",
        "",
        [],
    ),
    "half a character at the end": (stream(chunk(content="a\ud83d")), "a\ufffd", "", []),
    "a tag cut between pieces": (
        stream(*(chunk(content=text) for text in ("<thi", "nk>h", "m</th", "ink>\n\n", "hi <b"))),
        "hi <b",
        "hm",
        [],
    ),
    "a streamed refusal": (stream(chunk(content=None, refusal="I "), chunk(refusal="cannot.")), "I cannot.", "", []),
    "empty and junk lines": (
        stream(chunk(content="a"), "", b"data:\n\n", "PROCESSING", ": ping", "[1]", b"\n\n", chunk(content="b")),
        "ab",
        "",
        [],
    ),
    "events that no blank line parts": (
        stream(b"".join(b"data: %s\n" % json.dumps(chunk(content=text)).encode() for text in "ab") + b"\n"),
        "ab",
        "",
        [],
    ),
    "no blank line at the end": (
        Answer(events=(chunk(content="a"), f"data: {json.dumps(chunk('stop'))}".encode())),
        "a",
        "",
        [],
    ),
    "a finish reason of nothing": (with_choice(chat("hi"), finish_reason=""), "hi", "", []),
    "no finish reason, and the end is told": (stream(chunk(content="hi <b"), finish=None), "hi <b", "", []),
    "no finish reason but of nothing": (stream(chunk("", content="hi"), finish=""), "hi", "", []),
    "no finish reason behind a call": (stream(piece(0, '{"at": 1}', id="c", name="look"), finish=None), "", "", [LOOK]),
    "content of parts": (chat(PARTS), "hi", "hm", []),
    "streamed content of parts": (stream(*(chunk(content=[part]) for part in PARTS)), "hi", "hm", []),
    "a call that is no list": (odd_message(tool_calls={"id": "c", "function": OBJECT}), "", "", [LOOK]),
    "a call in the form that calls had first": (odd_message(function_call=OBJECT), "", "", [LOOK]),
    "a streamed call in the form that calls had first": (
        stream(chunk(function_call={"name": "look", "arguments": ""}), chunk(function_call={"arguments": '{"at": 1}'})),
        "",
        "",
        [LOOK],
    ),
    "a message in the place of a delta": (
        stream(*({**NO_CHOICE, "choices": [{"message": {"content": text}}]} for text in "ab")),
        "ab",
        "",
        [],
    ),
    "a message beside a delta": (
        stream(*({**NO_CHOICE, "choices": [{"delta": {"content": t}, "message": {"content": "ab"}}]} for t in "ab")),
        "ab",
        "",
        [],
    ),
    "a whole answer as an event": (
        Answer(events=(chat("hi", [("c1", "look", '{"at": 1}')]).body, "[DONE]")),
        "hi",
        "",
        [LOOK],
    ),
    "a whole answer as text": (
        Answer(chat("hi").body, headers={"content-type": "text/plain"}),
        "hi",
        "",
        [],
    ),
    "an odd head": (with_body(with_choice(chat("hi"), index=None), created="now", id=None, model=7), "hi", "", []),
    "a role of its own": (odd_message(role="model", content="hi"), "hi", "", []),
    "a whole answer to the wish for a stream": (
        Answer(chat("hi", [("c1", "look", '{"at": 1}')]).body, streamed=None),
        "hi",
        "",
        [LOOK],
    ),
}


@pytest.mark.parametrize("name", READABLE)
async def test_an_odd_answer_is_read(client_for: NewClient, name: str) -> None:
    answer, text, thought, calls = READABLE[name]
    async with FakeProvider([answer]) as fake:
        client = client_for(fake.address)
        for streamed in (False, True):
            if answer.events is not None and not streamed:
                continue
            heard = await ask(client, "openai/m", streamed=streamed)
            if name == "a lone closing tag" and streamed:
                continue  # a test of its own
            assert (heard.text, heard.thought, heard.calls) == (text, thought, list(calls)), streamed
            assert len({call.id for call in heard.reply.tool_calls} - {""}) == len(calls)


def used(prompt: Any, completion: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 0}


USAGE: dict[str, Answer] = {
    # name: an answer that took 5 tokens for its prompt and 2 for itself
    "so far, with every chunk": stream(
        {**chunk(content="h"), "usage": used(5, 1)}, {**chunk(content="i"), "usage": used(5, 2)}
    ),
    "so far, and once more at the end": stream(
        {**chunk(content="hi"), "usage": used(5, 1)},
        {**chunk("stop"), "usage": used(5, 2)},
        {**NO_CHOICE, "usage": used(5, 2)},
        finish=None,
    ),
    "none before the end": stream({**chunk(content="hi"), "usage": used(0, 0)}, {**NO_CHOICE, "usage": used(5, 2)}),
    "none at the end": stream({**chunk(content="hi"), "usage": used(5, 2)}, {**NO_CHOICE, "usage": used(0, 0)}),
    "with the choice": stream(
        {**NO_CHOICE, "choices": [{"index": 0, "delta": {"content": "hi"}, "usage": used(5, 2)}]}
    ),
    "in a place of Groq's": stream(chunk(content="hi"), {**NO_CHOICE, "x_groq": {"id": "r", "usage": used(5, 2)}}),
    "as fractions": stream({**chunk(content="hi"), "usage": used(5.0, 2.0)}),
    "as fractions, whole": with_body(chat("hi"), usage=used(5.0, 2.0)),
}


@pytest.mark.parametrize("name", USAGE)
async def test_what_an_answer_took_is_counted_once(client_for: NewClient, name: str) -> None:
    answer = USAGE[name]
    async with FakeProvider([answer]) as fake:
        heard = await ask(client_for(fake.address), "openai/m", streamed=answer.events is not None)
    assert (heard.text, heard.reply.usage.prompt_tokens, heard.reply.usage.completion_tokens) == ("hi", 5, 2)


async def test_a_server_whose_thoughts_end_in_a_lone_tag_is_known_from_its_first_answer_on(
    client_for: NewClient,
) -> None:
    thinking = stream(*(chunk(content=text) for text in ("hm", "</thi", "nk>\n\nhi")))
    async with FakeProvider([thinking, thinking, stream(chunk(content="just hi")), thinking]) as fake:
        client = client_for(fake.address)
        heard = [await ask(client, "openai/m", streamed=True) for _ in range(3)]
    assert (heard[0].text, heard[0].thought) == ("hmhi", ""), "what was streamed as text stays text"
    assert (heard[1].text, heard[1].thought) == ("hi", "hm")
    assert heard[2].text == "just hi", "an answer without a thought is none the less an answer"


BUSY = {"error": {"code": 429, "message": "busy, try again"}}
CREDIT = {"error": {"code": 402, "message": "your credit is used up"}}
SAID = chunk(content="so far")

BROKEN: dict[str, tuple[Answer, bool, str]] = {
    # name: the answer, whether it is asked for again, and what the error says
    "no finish reason": (stream(SAID, finish=None, done=False), False, "without a finish reason"),
    "no finish reason amid a call": (
        stream(piece(0, '{"at"', id="c", name="look"), finish=None),
        False,
        "without a finish reason",
    ),
    "no finish reason and only a thought": (
        stream(chunk(reasoning_content="hm"), finish=None),
        False,
        "without a finish reason",
    ),
    "no finish reason and no words": (stream(finish=None), True, "without a finish reason"),
    "an empty stream": (Answer(events=()), True, "without a finish reason"),
    "finish reason error, streamed": (stream(SAID, finish="error"), False, "broke off"),
    "finish reason error, whole": (with_choice(chat("so far"), finish_reason="error"), True, "broke off"),
    "interrupted by its server": (
        with_choice(chat("so far"), finish_reason="insufficient_system_resource"),
        True,
        "broke off",
    ),
    "an error in the choice": (with_choice(chat(""), error={"code": 503, "message": "no GPU"}), True, "no GPU"),
    "an error amid a stream": (stream(SAID, {"error": {"code": 503, "message": "no GPU"}}), False, "no GPU"),
    "an error before a stream": (stream({"error": {"code": "server_error", "message": "no GPU"}}), True, "no GPU"),
    "an error beside a chunk": (stream({**chunk("error", content=""), "error": "no GPU"}), True, "no GPU"),
    "busy inside a 200": (Answer(BUSY), True, "limiting"),
    "busy, streamed": (stream(BUSY), True, "limiting"),
    "used up inside a 200": (Answer(CREDIT), False, "your credit is used up"),
    "used up, streamed": (stream(CREDIT), False, "your credit is used up"),
    "refused inside a 200": (Answer({"object": "error", "code": 400, "message": "no such thing"}), False, "no such"),
    "an error that is a text": (Answer({"error": "the model is loading"}), True, "the model is loading"),
    "details in the place of an answer": (Answer({"detail": "no GPU"}), True, "no GPU"),
    "details in the place of a chunk": (stream({"detail": [{"msg": "no GPU"}]}, finish=None), True, "no GPU"),
    "a message in the place of a chunk": (stream({"message": "no GPU", "code": 503}, finish=None), True, "no GPU"),
    "an error under a name of its own": (
        stream(b'error: {"code": 503, "message": "no GPU"}\n\n', finish=None, done=False),
        True,
        "no GPU",
    ),
    "an error in a list": (Answer([{"error": {"code": 400, "message": "no such thing"}}]), False, "no such"),
    "a page": (Answer("<!DOCTYPE html>", headers={"content-type": "text/html"}), False, "web page.*/v1"),
    "no room for an answer": (
        with_choice(chat(""), finish_reason="model_context_window_exceeded"),
        False,
        "leaves no room",
    ),
    "no room for an answer, streamed": (stream(finish="model_context_window_exceeded"), False, "leaves no room"),
    "a chunk that cannot be read": (stream(SAID, '{"choices": [{"index": 0, "delta": {"con'), False, "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_is_not_whole_is_an_error(client_for: NewClient, name: str) -> None:
    answer, passing, says = BROKEN[name]
    for streamed in (False, True):
        if answer.events is not None and not streamed:
            continue
        async with FakeProvider([answer]) as fake:
            with pytest.raises(ProviderError, match=says):
                await ask(client_for(fake.address, model_retries=1), "openai/m", streamed=streamed)
            assert len(fake.asked) == 1 + passing


async def test_what_passes_is_over_with_the_next_answer(client_for: NewClient) -> None:
    for streamed, good in ((False, chat("hi")), (True, stream(chunk(content="hi")))):
        async with FakeProvider([Answer(BUSY), good]) as fake:
            assert (await ask(client_for(fake.address), "openai/m", streamed=streamed)).text == "hi"


def cut(answer: Answer, count: int) -> Answer:
    return Answer(answer.body, streamed=(answer.streamed or ())[:count])


def google_stream(*events: Any) -> Answer:
    return Answer(events=events)


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded just now"}}
EXHAUSTED = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
CLAUDE = "anthropic/claude-haiku-4-5"
GEMINI = "google_ai/gemini-2.5-flash"
NO_END = gemini({"text": "so far"}).body | {"candidates": [{"content": {"role": "model", "parts": [{"text": "so"}]}}]}
OTHERS: dict[str, tuple[str, Answer, bool, bool, str]] = {
    # name: the model, the answer, streamed or not, whether it is asked for again, what the error says
    "Claude, cut": (CLAUDE, cut(claude({"type": "text", "text": "so far"}), 3), True, False, "finish reason"),
    "Claude, overloaded inside a 200": (CLAUDE, Answer(OVERLOADED), False, True, "overloaded just now"),
    "Claude, overloaded for a stream": (CLAUDE, Answer(OVERLOADED), True, True, "overloaded just now"),
    "Claude, overloaded amid a stream": (CLAUDE, Answer(events=(OVERLOADED,)), True, True, "overloaded just now"),
    "Gemini, cut": (GEMINI, google_stream(NO_END), True, False, "finish reason"),
    "Gemini, slowed down inside a 200": (GEMINI, Answer(EXHAUSTED), False, True, "limiting"),
    "Gemini, slowed down for a stream": (GEMINI, Answer(EXHAUSTED), True, True, "limiting"),
    "Responses, cut": ("openai/m", cut(responses(said("m1", "so far")), 3), True, False, "finish reason"),
    "Responses, an error inside a 200": ("openai/m", Answer(BUSY), False, True, "limiting"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_other_apis_answers_that_are_not_whole_are_errors_too(client_for: NewClient, name: str) -> None:
    model, answer, streamed, passing, says = OTHERS[name]
    also = {"OPENAI_API": "responses"} if name.startswith("Responses") else {}
    async with FakeProvider([answer]) as fake:
        with pytest.raises(ProviderError, match=says):
            await ask(client_for(fake.address, also, model_retries=1), model, streamed=streamed)
        assert len(fake.asked) == 1 + passing


async def test_a_refusal_by_the_responses_api_is_streamed(client_for: NewClient) -> None:
    item = {**said("m1", ""), "content": [{"type": "refusal", "refusal": "I cannot."}]}
    whole = {**responses(said("m1", "")).body, "output": [item]}
    place = {"item_id": "m1", "output_index": 0, "content_index": 0, "sequence_number": 1}
    events = [
        {"type": "response.refusal.delta", **place, "delta": "I cannot."},
        {"type": "response.refusal.done", **place, "refusal": "I cannot."},
        {"type": "response.completed", "sequence_number": 3, "response": whole},
    ]
    async with FakeProvider([Answer(whole, streamed=tuple(events))]) as fake:
        client = client_for(fake.address, {"OPENAI_API": "responses"})
        for streamed in (False, True):
            assert (await ask(client, "openai/m", streamed=streamed)).text == "I cannot."


@pytest.mark.parametrize("model", [CLAUDE, GEMINI])
async def test_junk_amid_another_apis_stream_is_passed_over(client_for: NewClient, model: str) -> None:
    events = claude({"type": "text", "text": "hi"}).streamed if model == CLAUDE else (gemini({"text": "hi"}).body,)
    assert events is not None
    async with FakeProvider([Answer(events=(b"data:\n\n", "PROCESSING", *events))]) as fake:
        assert (await ask(client_for(fake.address), model, streamed=True)).text == "hi"


def claude_stream(change: Callable[[dict[str, Any]], Any]) -> Answer:
    """Return a streamed answer of Claude's with a text and a call, its events changed; None leaves one out."""
    call = {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}}
    events = claude({"type": "text", "text": "hi"}, call, stop="tool_use").streamed or ()
    changed = (change(json.loads(json.dumps(event))) for event in events)
    return Answer(events=tuple(event for event in changed if event is not None))


def without_reason(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "delta": {"stop_reason": None}} if event["type"] == "message_delta" else event


def without_usage(event: dict[str, Any]) -> dict[str, Any]:
    event.get("message", event).pop("usage", None)
    return event


LIKE_CLAUDE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no names of events": lambda event: b"data: " + json.dumps(event).encode() + b"\n\n",
    "no usage": without_usage,
    "usage of nulls": lambda event: (
        event | ({"message": event["message"] | {"usage": {"input_tokens": None}}} if "message" in event else {})
    ),
    "no stop reason": without_reason,
    "no event for the stop reason": lambda event: None if event["type"] == "message_delta" else event,
}


@pytest.mark.parametrize("name", LIKE_CLAUDE)
async def test_what_servers_like_claudes_leave_out_is_put_in(client_for: NewClient, name: str) -> None:
    async with FakeProvider([claude_stream(LIKE_CLAUDE[name])]) as fake:
        heard = await ask(client_for(fake.address), CLAUDE, streamed=True)
    assert (heard.text, heard.calls, heard.reply.finish_reason) == ("hi", [LOOK], "tool_call")
    assert len(fake.asked) == 1


# -- parameters that a server does not know ------------------------------------------------------------------------

REFUSALS = [
    ("stream_options", failure(400, "Unrecognized request argument supplied: stream_options")),
    ("stream_options", Answer({"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]}, 422)),
    ("stream_options", failure(500, "create() got an unexpected keyword argument 'stream_options'")),
    ("temperature", failure(400, "Unsupported value: 'temperature' does not support 0.5 with this model.")),
]


@pytest.mark.parametrize(("name", "refusal"), REFUSALS)
async def test_a_parameter_that_a_server_does_not_know_is_left_out_once_and_for_all(
    client_for: NewClient, name: str, refusal: Answer
) -> None:
    from dataclasses import replace

    from folkmoot.models.prompt import ModelOptions

    def script(asked: Asked) -> Answer:
        if name in asked.body:
            return refusal
        return stream(chunk(content="hi")) if asked.body.get("stream") else chat("hi")

    prompt = replace(PROMPT, options=ModelOptions(temperature=0.5))
    async with FakeProvider(script) as fake:
        client = client_for(fake.address)
        for _ in range(2):
            async with aclosing(client.stream("openai/m", prompt)) as parts:
                heard = [part async for part in parts]
            assert isinstance(heard[-1], Reply)
            assert heard[-1].text == "hi"
        assert [name in asked.body for asked in fake.asked] == [True, False, False]
        await ask(client, "openai/other", streamed=True)
        assert name == "temperature" or name in fake.asked[3].body, "another model may know it"


async def test_the_other_name_of_a_limit_is_tried(client_for: NewClient) -> None:
    from dataclasses import replace

    from folkmoot.models.prompt import ModelOptions

    def script(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            return failure(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return chat("hi")

    prompt = replace(PROMPT, options=ModelOptions(max_output_tokens=50))
    async with FakeProvider(script) as fake:
        await client_for(fake.address).ask("openai/m", prompt)
        assert fake.asked[-1].body["max_completion_tokens"] == 50


async def test_claude_is_asked_without_what_its_server_does_not_know(client_for: NewClient) -> None:
    def script(asked: Asked) -> Answer:
        if b"cache_control" in asked.raw:
            return failure(400, "tools.0.cache_control: Extra inputs are not permitted")
        return claude({"type": "text", "text": "hi"})

    async with FakeProvider(script) as fake:
        client = client_for(fake.address)
        for _ in range(2):
            assert (await ask(client, CLAUDE, streamed=True)).text == "hi"
        assert len(fake.asked) == 3


@pytest.mark.parametrize(
    "words",
    [
        "tools are not supported by this model",
        "max_tokens exceeds the maximum",
        "Invalid schema for response_format 'answer': 'minimum' is not permitted.",
        "stream is not supported, unknown reason",
    ],
)
async def test_what_a_request_cannot_do_without_stays(client_for: NewClient, words: str) -> None:
    async with FakeProvider([failure(400, words)]) as fake:
        with pytest.raises(ProviderRejected):
            await ask(client_for(fake.address), "openai/m", streamed=True)
        assert len(fake.asked) == 1


@pytest.mark.parametrize(
    ("key", "words", "shown"),
    [
        ("x", "max_tokens exceeds the maximum", "max_tokens exceeds the maximum"),
        ("none", "none of it is nonetheless known", "none of it is nonetheless known"),
        ("ollama", "API key: ollama is not for ollama", "API key: *** is not for ollama"),
        ("sk-9f8e7d6c5b4a3f2e", "we know sk-9f8e7d6c5b4a3f2e, you", "we know ***, you"),
    ],
)
async def test_a_key_is_blotted_out_but_no_words(client_for: NewClient, key: str, words: str, shown: str) -> None:
    async with FakeProvider([failure(400, words)]) as fake:
        with pytest.raises(ProviderRejected) as failed:
            await ask(client_for(fake.address, {"OPENAI_API_KEY": key}), "openai/m", streamed=False)
    assert failed.value.message.endswith(f"It said: {shown}")


async def test_used_up_credit_is_told_from_a_limit(client_for: NewClient) -> None:
    error = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "no money"}}
    for streamed, answer in ((False, Answer(error)), (True, stream(error))):
        async with FakeProvider([answer]) as fake:
            with pytest.raises(ProviderRateLimit, match="no money"):
                await ask(client_for(fake.address), "openai/m", streamed=streamed)
            assert len(fake.asked) == 1


@pytest.mark.parametrize(("streamed", "bound"), [(False, "LARGEST_ANSWER"), (True, "LARGEST_STREAM")])
async def test_an_answer_is_read_up_to_a_bound_however_small_it_was_packed(
    client_for: NewClient, monkeypatch: pytest.MonkeyPatch, streamed: bool, bound: str
) -> None:
    """12 MB come as 12 kB; a stream may have more than a whole answer."""
    monkeypatch.setattr(bounded, bound, 10_000_000)
    kind = "text/event-stream" if streamed else "application/json"
    headers = {"content-encoding": "gzip", "content-type": kind}
    answer = Answer(gzip.compress(b"data: " + b"a" * 12_000_000), headers=headers)
    async with FakeProvider([answer]) as fake:
        with pytest.raises(ProviderError, match="more than 10,000,000 bytes"):
            await ask(client_for(fake.address), "openai/m", streamed=streamed)


@pytest.mark.parametrize("words", ["tool_choice ", "system role "])
async def test_a_very_long_error_is_told_by_its_beginning(client_for: NewClient, words: str) -> None:
    """It took minutes to look through all of it."""
    async with FakeProvider([failure(400, words * 300_000)]) as fake:
        with pytest.raises(ProviderRejected, match=words) as failed:
            await ask(client_for(fake.address), "openai/m", streamed=False)
    assert len(failed.value.message) < 500
