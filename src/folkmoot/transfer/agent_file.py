"""Agent files (`.af`): the JSON in which agents move between servers, read with care.

    agents, blocks, tools, sources, files, groups, mcp_servers, skills    each a list of things, with an `id`
    metadata, created_at
    folkmoot                                        what only this server knows; other readers pass over it

Identifiers such as `block-3` hold within one file; what has the same one is the same thing, so that sharing is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.errors import BadRequest
from folkmoot.transfer.message_rows import OWN_KEY, clean

VERSION = 1
"""Of what stands under our own key."""

SECTIONS = ("agents", "groups", "blocks", "files", "sources", "tools", "mcp_servers", "skills")
OWN_SECTIONS = ("histories", "conversations", "archives", "identities")
"""Of what stands under our own key."""

LEFT_OUT = "left_out"
"""Under our own key: what the agents had that is not in the file, a line for each thing."""

REFERENCES = {"tool_ids": "tools", "block_ids": "blocks", "source_ids": "sources", "group_ids": "groups"}
"""The fields of an agent that name things of a section."""

MOST_AGENTS = 100
MOST_THINGS = 10_000
"""Things of one section."""

MOST_MESSAGES = 100_000
"""Messages of all agents and conversations."""


@dataclass(frozen=True, slots=True)
class AgentFile:
    """A file whose identifiers are unique and whose references name something."""

    content: Mapping[str, Any]

    def section(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return the things of a section."""
        things: Sequence[Mapping[str, Any]] = self.content.get(name) or ()
        return things

    def own(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return the things of a section that only this server writes."""
        things: Sequence[Mapping[str, Any]] = (self.content.get(OWN_KEY) or {}).get(name) or ()
        return things

    @property
    def left_out(self) -> Sequence[str]:
        """What the agents had on the server that wrote the file, and the file does not have."""
        lines: Sequence[str] = (self.content.get(OWN_KEY) or {}).get(LEFT_OUT) or ()
        return lines


def read_agent_file(data: bytes) -> AgentFile:
    """Read a file; it takes a while and is for a thread.

    Raises:
        BadRequest: it is of another format, which is named, or something in it does not fit.
    """
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        content = json.loads(text)
        if isinstance(content, str):  # some clients encode the text of the file once more
            text, content = content, json.loads(content)
        if _UNKEPT.search(text):
            content = clean(content)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"file: {_kind_of(data)}, not an agent file: {error}."[:400]) from error
    if not isinstance(content, dict):
        raise BadRequest(f"file: is a JSON {type(content).__name__}, not an agent file, which is an object.")
    if "agents" not in content:
        raise BadRequest(f"file: is {_format_of(content)}; an agent file has a list `agents`.")
    for section in SECTIONS:
        _check_section(section, content.get(section))
    own = content.get(OWN_KEY)
    if own is not None and (not isinstance(own, dict) or own.get("version") != VERSION):
        told = own.get("version") if isinstance(own, dict) else own
        raise BadRequest(
            f"file: {OWN_KEY}.version is {told!r}, and this server reads {VERSION}; a newer one has written the file."
        )
    for section in OWN_SECTIONS:
        _check_section(section, (own or {}).get(section))
    _check_lines((own or {}).get(LEFT_OUT))
    file = AgentFile(content)
    _check_identifiers(file)
    for agent in file.section("agents"):
        _check_agent(agent, file)
    for conversation in file.own("conversations"):
        _check_said(conversation, f"file: conversation {conversation.get('id')!r}")
    return file


_UNKEPT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])|[\ud800-\udfff]|NaN|Infinity|[eE]\+?\d{3}")
"""What stands in a file that may have NUL or halves of surrogate pairs in a text, or numbers that JSON has not."""


def _check_section(section: str, things: Any) -> None:
    most = MOST_AGENTS if section == "agents" else MOST_THINGS
    if things is None and section != "agents":
        return
    if not isinstance(things, list) or any(not isinstance(thing, dict) for thing in things):
        raise BadRequest(f"file: {section} is no list of objects.")
    if len(things) > most:
        raise BadRequest(f"file: {section} are {len(things):,}, and {most:,} are taken in one file. Split it.")


def _check_lines(lines: Any) -> None:
    most = MOST_THINGS
    if lines is not None and (
        not isinstance(lines, list) or len(lines) > most or any(not isinstance(line, str) for line in lines)
    ):
        raise BadRequest(f"file: {OWN_KEY}.{LEFT_OUT} is no list of at most {most:,} texts.")


def _check_identifiers(file: AgentFile) -> None:
    seen: dict[str, str] = {}
    for section in SECTIONS:
        for thing in file.section(section):
            identifier = thing.get("id")
            if section == "skills" and identifier is None:
                continue
            if not isinstance(identifier, str):
                raise BadRequest(f"file: something in {section} has no id.")
            if identifier in seen:
                raise BadRequest(f"file: {identifier!r} stands in {seen[identifier]} and once more in {section}.")
            seen[identifier] = section


def _check_agent(agent: Mapping[str, Any], file: AgentFile) -> None:
    place = f"file: agent {agent['id']}"
    for field, section in REFERENCES.items():
        known = {thing["id"] for thing in file.section(section)}
        for identifier in _list(agent, field, place):
            if not isinstance(identifier, str) or identifier not in known:
                raise BadRequest(f"{place}: {field} names {identifier!r}, which is not among the file's {section}.")
    _objects(agent, "files_agents", place)
    _check_said(agent, place)


def _check_said(holder: Mapping[str, Any], place: str) -> None:
    messages = _objects(holder, "messages", place)
    ids = [message.get("id") for message in messages]
    known = set(map(str, ids))
    if len(known) != len(ids):
        raise BadRequest(f"{place}: two of its messages have the same id.")
    for identifier in _list(holder, "in_context_message_ids", place):
        if str(identifier) not in known:
            raise BadRequest(f"{place}: in_context_message_ids names {identifier!r}, which is none of its messages.")


def _list(thing: Mapping[str, Any], field: str, place: str) -> list[Any]:
    value = thing.get(field)
    if value is not None and not isinstance(value, list):
        raise BadRequest(f"{place}: {field} is no list.")
    return value or []


def _objects(thing: Mapping[str, Any], field: str, place: str) -> list[dict[str, Any]]:
    value = _list(thing, field, place)
    if any(not isinstance(each, dict) for each in value):
        raise BadRequest(f"{place}: {field} is no list of objects.")
    return value


def message_count(file: AgentFile) -> int:
    """Return how many rows of messages a file has."""
    return sum(len(holder.get("messages") or ()) for holder in (*file.section("agents"), *file.own("conversations")))


def _kind_of(data: bytes) -> str:
    """Return what a file that is no JSON seems to be.

    >>> _kind_of(b"PK rest"), _kind_of(b"-- PostgreSQL database dump")
    ('is a ZIP archive', 'is no JSON')
    """
    for magic, kind in _MAGICS:
        if data.startswith(magic):
            return f"is {kind}"
    return "is empty" if not data.strip() else "is no JSON"


_MAGICS = (
    (b"PK", "a ZIP archive"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF"),
)


def _format_of(content: Mapping[str, Any]) -> str:
    """Return which format a JSON object seems to be of."""
    for name, keys in _FORMATS:
        if all(key in content for key in keys):
            return name
    return f"an object with {', '.join(map(repr, list(content)[:5])) or 'nothing in it'}"


_FORMATS = (
    ("the older agent file of a single agent (its `core_memory` and `messages` at the top)", ("core_memory",)),
    ("the older agent file of a single agent (its `agent_type` at the top)", ("agent_type",)),
    ("a character card", ("spec", "data")),
    ("an OpenAI assistant", ("object", "instructions")),
)
