"""The offline model `offline/notetaker`: a small rule follower that needs no network, no key and no
package.

It can search and note what it found, note what it is told, pass on what one block says to another, replace words
in a line of a block, and answer from its memory blocks by the words they share with the question. Whatever else it
is asked, it says plainly what it is. `answer` is a pure function of the prompt but for the ids of tool calls.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from folkmoot.models.blocks_in_prompt import ShownBlock, find_block, named_block, shown_blocks
from folkmoot.models.frames import SAID_SINCE, read_frames
from folkmoot.models.offline_summary import best_sentences, words_of
from folkmoot.models.prompt import (
    AssistantMessage,
    Delta,
    Prompt,
    Reply,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolReturn,
    ToolSchema,
    Usage,
    UserMessage,
)

MOST_STEPS = 3
"""Steps that may call a tool; the fourth of a turn always answers."""

MOST_TRIES = 12
"""Steps that may try to replace something while others are always faster."""

WHAT_I_AM = "I am Folkmoot's offline note-taker, a small rule follower and not a language model."
WHAT_I_CAN = (
    'I can follow requests such as "Find information about … and insert what you learn into the block", '
    '"Remember that …", "Take what the … block says about … and insert it into the … block", '
    '"Replace "…" by "…" in the … block", and questions that my memory blocks answer. '
    "For more, configure a real model, for example by setting OPENAI_API_KEY."
)


class _Rule:
    """An expression that takes time in proportion to the text, whatever somebody writes; compiled when first used.

    It has no lookahead: what follows a match is part of it, and callers take its groups.
    """

    def __init__(self, expression: str) -> None:
        self._expression = expression

    @cached_property
    def _compiled(self) -> Any:
        import re2  # some megabytes of memory, for those who use this model

        options = re2.Options()
        options.log_errors = False  # it would write to the terminal
        return re2.compile(self._expression, options=options)

    def search(self, text: str) -> Any:
        return self._compiled.search(text)

    def without(self, text: str) -> str:
        return str(self._compiled.sub("", text))


_RESEARCH = _Rule(
    r"(?im)\b(?:find|search|look|research|gather|investigate|learn)\b[^.?!\n]{0,40}?\b(?:about|on|for|up|into)\s+"
    r"(?P<topic>[^\n?!]+?)"
    r"(?:\.\s|\.?\s*$|[\n?!]|,? and (?:then )?(?:insert|add|write|note|save|store|put)\b)"
)
_NOTE = _Rule(
    r"(?is)\b(?:insert|add|write|note|save|store|record|remember|append|put|jot down)\b"
    r"(?: down)?(?: that)?[:,]?\s+(?P<text>.+)"
)
_PASS_ON = _Rule(
    r"(?is)\b(?:take|pick|choose|select|quote|copy|summari[sz]e|condense)\b(?P<what>[^.!?\n]*?)"
    r"\b(?:insert|add|write|note|put|append)\b(?P<where>.+)"
)
_TOPIC = _Rule(r"(?i)\b(?:about|on)\s+(?P<topic>.+?)(?:,?\s+and(?: then)?)?\s*$")
_REPLACE = _Rule(
    r"(?i)\breplace\s+(?:[^\"“”.\n]{0,40} )?[\"“](?P<old>[^\"”\n]+)[\"”][^\"“.\n]{0,60}?"
    r"\s(?:by|with)\s+[\"“](?P<new>[^\"”\n]*)[\"”]"
)
_KEEP = _Rule(r"(?i)\b(?:keep|store|save|put|insert|add)\b[^.!?\n]*\barchives?\b")
_LOOK_UP = _Rule(
    r"(?im)\bsearch (?:the|your|our|my) archives? (?:for|about)\s+(?P<topic>[^\n?!]+?)(?:\.?\s*$|[\n?!]|\.\s)"
)
_TRY = _Rule(r"(?i)\btry\b")
_DESTINATION = _Rule(
    r"(?is)[\s,]*\b(?:in|into|to|onto)\s+(?:the|your|our|my)?\s*(?:[\pL\pN_\"'“”-]+\s+)?(?:memory\s+)?(?:block|memory)\b.*$"
)
_PREFIX = _Rule(
    r"(?i)\b(?:prepend(?:ed)?|prefix(?:ed)?|preced(?:ed|ing)|start(?:ed|ing)?)\b[^\"“'\n]{0,30}[\"“'](?P<prefix>[^\"”'\n]+)[\"”']"
)
_QUOTED = _Rule(r"[\"“](?P<text>[^\"”]+)[\"”]")
_LEADING_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)

_INSERT_TOOLS = ("memory_insert", "core_memory_append")
_INSERT_TEXT = ("new_string", "new_str", "content", "text")
_REPLACE_TOOLS = {
    "memory_replace": ("old_string", "new_string"),
    "core_memory_replace": ("old_content", "new_content"),
}


@dataclass(frozen=True, slots=True)
class _Situation:
    """What the rules look at: the request, the tools and what has happened in this turn."""

    request: str
    tools: dict[str, ToolSchema]
    blocks: Sequence[ShownBlock]
    steps: int
    called: Sequence[ToolCall]
    returns: Sequence[ToolReturn]

    @property
    def insert_tool(self) -> ToolSchema | None:
        return next((self.tools[name] for name in _INSERT_TOOLS if name in self.tools), None)

    def call_of(self, names: Sequence[str]) -> ToolCall | None:
        return next((call for call in reversed(self.called) if call.name in names), None)

    def return_of(self, name: str) -> ToolReturn | None:
        return next((answer for answer in reversed(self.returns) if answer.name == name), None)


def answer(prompt: Prompt) -> Reply:
    """Return what the rules make of a prompt."""
    reply = _follow(_look(prompt))
    written = len(reply.text) + sum(len(call.name) + len(call.arguments) for call in reply.tool_calls)
    usage = Usage(prompt_tokens=_size(prompt) // 4 + 1, completion_tokens=written // 4 + 1)
    return Reply(reply.text, (), reply.tool_calls, usage, "tool_call" if reply.tool_calls else "stop")


def pieces(reply: Reply) -> Iterator[Delta]:
    """Yield an answer word by word, as a model would stream it."""
    for word in re.findall(r"\S+\s*|\s+", reply.text):
        yield TextDelta(word)
    for call in reply.tool_calls:
        yield ToolCallDelta(call.id, call.name)
        for word in re.findall(r"\S+\s*|\s+", call.arguments):
            yield ToolCallDelta(call.id, arguments=word)


def _look(prompt: Prompt) -> _Situation:
    turns = list(prompt.messages)
    last = max((number for number, turn in enumerate(turns) if isinstance(turn, UserMessage)), default=-1)
    after = turns[last + 1 :]
    spoken = [turn for turn in after if isinstance(turn, AssistantMessage)]
    return _Situation(
        request=_request_in(_text_of(turns[last])) if last >= 0 else "",
        tools={} if prompt.options.tool_choice == "none" else {tool.name: tool for tool in prompt.tools},
        blocks=shown_blocks(prompt.memory),
        steps=len(spoken),
        called=[call for turn in spoken for call in turn.tool_calls],
        returns=[turn for turn in after if isinstance(turn, ToolReturn)],
    )


def _request_in(text: str) -> str:
    """Return what is asked: to one that tends another agent's memory, to note what that one was told to remember."""
    said = read_frames(text, SAID_SINCE)
    if not said:
        return text
    notes = [_NOTE.search(each.text) for each in said if each.attributes.get("from") == "user"]
    told = "\n".join(note["text"] for note in notes if note)
    return f"Remember: {told} in the human block" if told else ""


def _follow(now: _Situation) -> Reply:
    if replace := _REPLACE.search(now.request):
        return _replace(now, replace["old"], replace["new"])
    if now.returns and now.returns[-1].failed:
        failed = now.returns[-1]
        return Reply(f"I tried {failed.name}, but it did not work: {_first_line(failed.content)}")
    inserted = now.call_of(_INSERT_TOOLS)
    if inserted is not None:
        return Reply(_report(inserted))
    if (kept := now.call_of(("archival_memory_insert",))) is not None:
        return Reply(f"I kept this in the archive: {json.loads(kept.arguments)['content']}")
    if now.steps >= MOST_STEPS:
        return Reply("I stop here: I have done what my rules can do with this request.")
    if (pass_on := _PASS_ON.search(now.request)) and (source := named_block(now.blocks, pass_on["what"])):
        return _pass_on(now, source, pass_on["what"], pass_on["where"])
    if (look_up := _LOOK_UP.search(now.request)) and "archival_memory_search" in now.tools:
        return _from_archive(now, look_up["topic"].strip(" .\"'"))
    if research := _RESEARCH.search(now.request):
        return _research(now, _LEADING_ARTICLE.sub("", research["topic"].strip(" .\"'")))
    if note := _NOTE.search(now.request):
        return _note(now, note["text"])
    return Reply(_from_memory(now))


def _research(now: _Situation, topic: str) -> Reply:
    found = now.return_of("web_search")
    if found is None:
        if "web_search" not in now.tools:
            return Reply(f"{WHAT_I_AM} I cannot look up {topic}, because I have no web_search tool here.")
        return _call("web_search", {"query": topic})
    finding = best_sentences(found.content, topic)
    if not finding:
        return Reply(f"I searched for {topic}, but the results held nothing that I could use.")
    rest = now.request[_end_of_research(now.request) :]
    if _KEEP.search(rest) and "archival_memory_insert" in now.tools:
        return _call("archival_memory_insert", {"content": finding, "tags": [topic]})
    if not _NOTE.search(rest):
        return Reply(finding)
    return _insert(now, finding, now.request)


def _from_archive(now: _Situation, topic: str) -> Reply:
    """Search the agent's archives, and say what the best passage says, and who wrote it."""
    found = now.return_of("archival_memory_search")
    if found is None:
        return _call("archival_memory_search", {"query": topic})
    results = json.loads(found.content)["results"]
    if not results:
        return Reply(f"The archive holds nothing about {topic}.")
    return Reply(f"{results[0]['written_by']} found out: {results[0]['content']}")


def _end_of_research(request: str) -> int:
    match = _RESEARCH.search(request)
    return int(match.end(1)) if match else 0


def _note(now: _Situation, text: str) -> Reply:
    prefix = _PREFIX.search(text)
    text = _PREFIX.without(text) if prefix else text
    quoted = _QUOTED.search(text)
    kept = quoted["text"] if quoted else _DESTINATION.without(text)
    kept = kept.strip(" \n,:")
    if not kept:
        return Reply(f"{WHAT_I_AM} I did not understand what to note. {WHAT_I_CAN}")
    return _insert(now, kept, now.request)


def _pass_on(now: _Situation, source: ShownBlock, what: str, where: str) -> Reply:
    """Insert what a block says, about a topic when one is named, into another."""
    about = _TOPIC.search(what.partition(source.label)[2])
    topic = about["topic"] if about else source.value
    said = best_sentences(source.value, topic)
    if not said:
        return Reply(
            f'The block "{source.label}" says nothing{" about " + topic if about else ""} that I could pass on.'
        )
    return _insert(now, said, where)


def _replace(now: _Situation, old: str, new: str) -> Reply:
    """Replace words in the first line that has them; who was too late looks for the next such line."""
    tried = now.call_of(tuple(_REPLACE_TOOLS))
    if tried is not None and not now.returns[-1].failed:
        return Reply(f"I replaced {old!r} by {new!r}. The line is now: {_argument(tried, 1)}")
    block = find_block(now.blocks, now.request)
    tool = next((name for name in _REPLACE_TOOLS if name in now.tools), None)
    if tool is None or block is None:
        return Reply(f"I have no {'tool to change memory' if block else 'memory block that I may change'}.")
    if block.read_only and not _TRY.search(now.request):
        return Reply(f'The block "{block.label}" is read-only, so I did not change it.')
    line = next((line for line in block.value.splitlines() if old in line), None)
    if line is None:
        return Reply(f'No line of the block "{block.label}" has {old!r}.')
    if tried is not None and (now.steps >= MOST_TRIES or _argument(tried, 0) == line):
        return Reply(f"I tried {tried.name}, but it did not work: {_first_line(now.returns[-1].content)}")
    old_name, new_name = _REPLACE_TOOLS[tool]
    return _call(tool, {"label": block.label, old_name: line, new_name: line.replace(old, new, 1)})


def _argument(call: ToolCall, place: int) -> str:
    """Return the old line, or at place 1 the new one, of a call that `_replace` made."""
    return str(json.loads(call.arguments)[_REPLACE_TOOLS[call.name][place]])


def _insert(now: _Situation, text: str, where: str) -> Reply:
    """Insert a text into the block that `where` names, with what it says to prepend."""
    tool = now.insert_tool
    if tool is None:
        return Reply(f"I have no tool to write into memory. What I would have noted: {text}")
    block = find_block(now.blocks, where)
    if block is None:
        return Reply(f"I have no memory block that I may write into. What I would have noted: {text}")
    if block.read_only and not _TRY.search(now.request):
        return Reply(f'The block "{block.label}" is read-only, so I did not write into it.')
    prefix = _PREFIX.search(where)
    written = f"{prefix['prefix']}{text}" if prefix else text
    properties = tool.parameters.get("properties") or {}
    name = next((name for name in _INSERT_TEXT if name in properties), _INSERT_TEXT[0])
    return _call(tool.name, {"label": block.label, name: written})


def _report(inserted: ToolCall) -> str:
    try:
        arguments = json.loads(inserted.arguments)
    except ValueError:
        arguments = {}
    written = next((arguments[name] for name in _INSERT_TEXT if name in arguments), "a note")
    return f'I added this to the block "{arguments.get("label", "memory")}": {written}'


def _from_memory(now: _Situation) -> str:
    wanted = words_of(now.request)
    best: tuple[int, str, str] | None = None
    for block in now.blocks:
        for line in filter(None, (line.strip() for line in block.value.splitlines())):
            shared = len(wanted & (words_of(line) | words_of(block.label)))
            if shared and (best is None or shared > best[0]):
                best = (shared, block.label, line)
    if best is None:
        return f"{WHAT_I_AM} {WHAT_I_CAN}"
    return f'My block "{best[1]}" says: {best[2]}'


def _call(name: str, arguments: dict[str, Any]) -> Reply:
    call = ToolCall(f"call_{uuid.uuid4().hex}", name, json.dumps(arguments, ensure_ascii=False))
    return Reply(tool_calls=(call,))


def _text_of(turn: object) -> str:
    content = turn.content if isinstance(turn, UserMessage) else ""
    return content if isinstance(content, str) else "\n".join(item for item in content if isinstance(item, str))


def _first_line(text: str) -> str:
    return next((line.strip()[:300] for line in text.splitlines() if line.strip()), "no reason was given")


def _size(prompt: Prompt) -> int:
    size = len(prompt.instructions) + len(prompt.memory) + sum(len(str(tool.parameters)) for tool in prompt.tools)
    for turn in prompt.messages:
        if isinstance(turn, AssistantMessage):
            size += len(turn.text) + sum(len(call.arguments) for call in turn.tool_calls)
        else:
            size += len(_text_of(turn) if isinstance(turn, UserMessage) else turn.content)
    return size
