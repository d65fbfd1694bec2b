"""Agent files on the wire: an agent's own fields as a file has them, and what a file asks for, read with care."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from folkmoot.agents.creation import AgentPlan
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.groups.groups import GroupPlan
from folkmoot.server.wire.agent_replies import AgentView, show_agent
from folkmoot.server.wire.agents import CONFIGURATION_FIELDS, CreateAgent
from folkmoot.server.wire.archives import CreateArchive, PassageText, Tags
from folkmoot.server.wire.blocks import CreateBlock
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text
from folkmoot.server.wire.conversations import ConversationSettings
from folkmoot.server.wire.groups import MOST_MEMBERS, SOMEBODY, CreateGroup
from folkmoot.server.wire.identities import CreateIdentity
from folkmoot.server.wire.tools import CreateTool
from folkmoot.store import clock
from folkmoot.transfer.agent_file import AgentFile
from folkmoot.transfer.importing import Imported, Plans
from folkmoot.transfer.message_rows import OWN_KEY

M = TypeVar("M", bound=BaseModel)

MOST_SKILLS = 100
MOST_FILES = 1000


class Skill(Request):
    """A skill that rides along in a file: its name and its files, by path."""

    name: Annotated[Text, Field(min_length=1, max_length=300)]
    files: Annotated[dict[Text, Text], Field(min_length=1, max_length=MOST_FILES)]
    source_url: Text | None = None


class ExportAgent(Request):
    """What is wanted of an agent."""

    skills: list[Skill] = Field([], max_length=MOST_SKILLS)
    conversation_id: Text | None = None
    scrub_messages: bool = False


class PassageInFile(Request):
    """A passage of an archive; when it is from, in microseconds."""

    text: PassageText
    tags: Tags = []
    metadata: JsonObject = {}
    created_at: Annotated[int, Field(ge=clock.FIRST, le=clock.LAST)]


class ImportedAgents(Reply):
    """The agents that were made."""

    agent_ids: list[str]
    left_out: list[str] = Field([], description="What of the file was left out or is called otherwise, line by line.")
    changed: list[str] = Field([], description="What was here and is the file's now, line by line.")

    @classmethod
    def of(cls, imported: Imported) -> ImportedAgents:
        """Show what came of a file."""
        return cls(agent_ids=list(imported.agent_ids), left_out=list(imported.left_out), changed=list(imported.changed))


_OF_ANOTHER_SERVER = frozenset(
    {"handle", "model", "model_endpoint", "model_endpoint_type", "provider_name", "provider_category", "display_name"}
)
"""What a model's configuration says of the server that a file comes from."""

_AS_SHOWN = (
    "name",
    "tool_rules",
    "tags",
    "system",
    "agent_type",
    "description",
    "metadata",
    "llm_config",
    "embedding_config",
    "model",
    "embedding",
    "model_settings",
    "response_format",
    "project_id",
    "template_id",
    "base_template_id",
    "message_buffer_autoclear",
    "enable_sleeptime",
    "timezone",
    "max_files_open",
    "per_file_view_window_char_limit",
    "hidden",
)
_NEVER_SAID: Mapping[str, Any] = {
    "memory_blocks": [],
    "tools": [],
    "folder_ids": None,
    "initial_message_sequence": None,
    "include_base_tools": False,
    "include_multi_agent_tools": False,
    "include_base_tool_rules": False,
    "include_default_source": False,
    "embedding_chunk_size": None,
    "max_reasoning_tokens": None,
    "enable_reasoner": None,
    "reasoning": None,
    "from_template": None,
    "template": False,
    "project": None,
    "memory_variables": None,
    "identity_ids": None,
}
"""Fields of the format that hold for agents that are asked for, not for those that are there."""


def agent_fields(view: AgentView) -> dict[str, Any]:
    """Return an agent's own fields as a file has them. Of its secrets it has the names."""
    shown = show_agent(view).model_dump(mode="json")
    configuration = view.agent.configuration
    names = dict.fromkeys(view.variables, "")
    return {
        **_NEVER_SAID,
        **{name: shown[name] for name in _AS_SHOWN},
        "compaction_settings": configuration.get("compaction_settings"),
        "context_window_limit": configuration.get("context_window_limit"),
        "max_tokens": configuration.get("max_tokens"),
        "parallel_tool_calls": configuration.get("parallel_tool_calls"),
        "tool_exec_environment_variables": names,
        "secrets": names,
    }


def given_fields(view: AgentView) -> dict[str, Any]:
    """Return the settings that somebody gave the agent; a file shows others too, with this server's defaults."""
    configuration = view.agent.configuration
    return {name: configuration[name] for name in CONFIGURATION_FIELDS if name in configuration}


def complete(content: dict[str, Any], views: Mapping[str, AgentView]) -> bytes:
    """Return a file: the content that was gathered, with each agent's own fields.

    Args:
        content: as `export_agents` returns it.
        views: the agents by their identifiers in the file.
    """
    entries = []
    for entry in content["agents"]:
        view = views[entry["id"]]
        own = {**entry[OWN_KEY], "given": given_fields(view)}
        entries.append({**agent_fields(view), **entry, OWN_KEY: own})
    made = datetime.now(UTC).isoformat()
    return "".join(_encoded({**content, "agents": entries, "created_at": made}, LEVELS)).encode()


LEVELS = 5
"""Down to where a file is encoded value by value: to the messages of agents, and of conversations under our key."""


def _encoded(value: Any, levels: int) -> Iterator[str]:
    """Yield JSON in pieces: while one is encoded, no other thread has a turn, and a file may be very large."""
    if levels > 1 and isinstance(value, dict) and value:
        for place, (name, each) in enumerate(value.items()):
            yield f"{', ' if place else '{'}{json.dumps(name, ensure_ascii=False)}: "
            yield from _encoded(each, levels - 1)
        yield "}"
    elif levels and isinstance(value, list) and value:
        for place, each in enumerate(value):
            yield ", " if place else "["
            yield from _encoded(each, levels - 1)
        yield "]"
    else:
        yield json.dumps(value, ensure_ascii=False)


def read_plans(file: AgentFile) -> Plans:
    """Return what a file's entries ask for.

    Raises:
        BadRequest: a field of one of them cannot be used.
    """
    return Plans(
        agents={entry["id"]: _agent(entry) for entry in file.section("agents")},
        blocks={entry["id"]: _block(entry) for entry in file.section("blocks")},
        tools={entry["id"]: _tool(entry) for entry in file.section("tools") if entry.get("source_code")},
        conversations={str(entry.get("id")): _settings(entry) for entry in file.own("conversations")},
        archives={str(entry.get("id")): _archive(entry) for entry in file.own("archives")},
        identities={str(entry.get("id")): _identity(entry) for entry in file.own("identities")},
        groups={entry["id"]: _group(entry) for entry in file.section("groups")},
    )


_MADE_ANEW = (
    "tool_ids",
    "block_ids",
    "source_ids",
    "folder_ids",
    "identity_ids",
    "memory_blocks",
    "tools",
    "initial_message_sequence",
)
"""Fields of an agent that other sections say in a file, or that name what is on the server it comes from."""


def _agent(entry: Mapping[str, Any]) -> AgentPlan:
    fields = {name: value for name, value in entry.items() if name not in _MADE_ANEW}
    if not isinstance(config := fields.get("llm_config"), dict):
        raise BadRequest(f"file: agent {entry['id']}: llm_config is required.")
    own = entry.get(OWN_KEY)
    given = own.get("given") if isinstance(own, dict) else None
    if isinstance(given, dict):
        plain = {name: value for name, value in fields.items() if name not in CONFIGURATION_FIELDS}
        fields = {**plain, **{name: value for name, value in given.items() if name in CONFIGURATION_FIELDS}}
        model = fields.get("model")
    else:
        model = fields.get("model") or config.get("handle")
        fields["llm_config"] = {name: v for name, v in config.items() if name not in _OF_ANOTHER_SERVER}
        fields = {name: value for name, value in fields.items() if value is not None}
    named = model if model is not None else f"{config.get('model_endpoint_type')}/{config.get('model')}"
    return _read(CreateAgent, {**fields, "model": named}, f"agent {entry['id']}").to_plan()


def _block(entry: Mapping[str, Any]) -> dict[str, Any]:
    own = entry.get(OWN_KEY)
    kept = {"require_version": own.get("require_version")} if isinstance(own, dict) else {}
    fields = {name: value for name, value in entry.items() if name != "limit" or value is not None}
    return _read(CreateBlock, {**fields, **kept}, f"block {entry['id']}").model_dump()


def _archive(entry: Mapping[str, Any]) -> dict[str, Any]:
    place = f"archive {entry.get('id')}"
    read = _read(CreateArchive, entry, place)
    given = entry.get("passages")
    if not isinstance(given, list):
        raise BadRequest(f"file: {place}: passages is no list.")
    return {
        "name": read.name,
        "description": read.description,
        "embedding": read.named_embedding,
        "embedding_config": read.config,
        "metadata": read.metadata or {},
        "is_of_agent": entry.get("is_of_agent") is True,
        "passages": [_read(PassageInFile, each, place).model_dump() for each in given],
    }


def _group(entry: Mapping[str, Any]) -> GroupPlan:
    place, config = f"group {entry['id']}", entry.get("manager_config") or {"manager_type": "round_robin"}
    names = [entry.get("agent_ids") or [], entry.get("shared_block_ids") or []]
    if not isinstance(config, dict) or not all(isinstance(each, list) for each in names):
        raise BadRequest(f"file: {place}: manager_config is an object, agent_ids and shared_block_ids are lists.")
    manager = config.get("manager_agent_id")
    stand_in = {"manager_agent_id": SOMEBODY} if manager is not None else {}
    told = {**entry, "agent_ids": [], "shared_block_ids": [], "manager_config": {**config, **stand_in}}
    plan = _read(CreateGroup, told, place).to_plan()
    known = {**plan.manager, "manager_agent_id": manager} if manager is not None else plan.manager
    members, shared = ([str(each) for each in named] for named in names)
    if len(members) > MOST_MEMBERS:
        raise BadRequest(f"file: {place}: has {len(members):,} agents, and {MOST_MEMBERS} are taken.")
    return replace(plan, agent_ids=members, shared_block_ids=shared, manager=known)


def _identity(entry: Mapping[str, Any]) -> dict[str, Any]:
    read = _read(CreateIdentity, {**entry, "agent_ids": None, "block_ids": None}, f"identity {entry.get('id')}")
    return {"fields": read.fields(), "properties": read.known() or []}


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    given = entry.get("configuration")
    if not isinstance(given, dict | None):
        raise BadRequest(f"file: conversation {entry.get('id')}: configuration is no object.")
    return _read(ConversationSettings, given or {}, f"conversation {entry.get('id')}").configuration()


def _tool(entry: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in entry.items() if value not in (None, {})}
    return _read(CreateTool, told, f"tool {entry['id']}").fields()


def _read(model: type[M], fields: Mapping[str, Any], place: str) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadRequest(f"file: {place}: {where}: {problem['msg']}.") from error
    except InvalidInput as error:
        raise BadRequest(f"file: {place}: {error.message}") from error


def read_variables(*texts: tuple[str, str | None]) -> dict[str, str]:
    """Return the variables that form fields hold as JSON; later fields win.

    Raises:
        BadRequest: one holds no object of texts.
    """
    found: dict[str, str] = {}
    for name, text in texts:
        if text is None or not text.strip():
            continue
        try:
            values = _Variables.model_validate({"values": json.loads(text)}).values
        except (ValueError, RecursionError) as error:
            raise BadRequest(
                f'{name} must be a valid JSON string: an object of texts, such as {{"KEY": "value"}}.'
            ) from (error)
        found |= values
    return found


class _Variables(Request):
    values: Annotated[dict[Text, Text], Field(max_length=MOST_FILES)]
