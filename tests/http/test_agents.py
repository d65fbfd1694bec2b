"""Agents over HTTP: create, retrieve, update, delete, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import JSON, UNKNOWN, assert_error
from letta_client import Letta, NotFoundError
from letta_client.types import AgentState

from support.clients import official_client, plain_client
from support.fixtures import MODEL, NewAgent, NewBlock, StartServer, one_store

DEFAULT_TOOLS = ["memory_insert", "memory_replace", "conversation_search"]


def tool_names(agent: AgentState) -> list[str | None]:
    return [tool.name for tool in agent.tools]


def block_ids(agent: AgentState) -> list[str | None]:
    return [block.id for block in agent.blocks]


@pytest.fixture
def name() -> str:
    """A name that no other agent has, to see whether one was made."""
    return f"agent_{uuid4().hex}"


def named(http: httpx.Client, name: str) -> list[Any]:
    found: list[Any] = http.get("/v1/agents/", params={"name": name}).json()
    return found


# -- create --------------------------------------------------------------------------------------------------


def test_a_new_agent_has_the_defaults(client: Letta) -> None:
    agent = client.agents.create(model=MODEL)
    assert agent.id.startswith("agent-")
    assert agent.name
    assert agent.agent_type == "letta_v1_agent"
    assert agent.model == MODEL
    assert agent.system
    assert (agent.blocks, agent.tags, agent.description, agent.metadata) == ([], [], None, None)
    assert agent.timezone == "UTC"
    assert tool_names(agent) == DEFAULT_TOOLS
    assert agent.llm_config.handle == MODEL
    assert agent.llm_config.model == "gpt-4o-mini"
    assert agent.embedding_config is None
    assert client.agents.retrieve(agent.id) == agent


def test_every_field_is_kept(client: Letta, new_block: NewBlock, name: str) -> None:
    block = new_block()
    (search,) = client.tools.list(name="web_search")
    created = client.agents.create(
        name=name,
        model=MODEL,
        description="Takes notes.",
        system="You take notes.",
        metadata={"n": 1, "deep": {"list": [None, "ü"]}},
        timezone="Europe/Berlin",
        tags=["blue", "red"],
        block_ids=[block.id],
        memory_blocks=[{"label": "human", "value": "Ada", "limit": 50, "description": "Who.", "read_only": True}],
        tools=["memory_rethink"],
        tool_ids=[search.id],
        include_base_tools=False,
        context_window_limit=20_000,
        hidden=True,
        project_id="project-1",
        message_buffer_autoclear=True,
        max_files_open=3,
        per_file_view_window_char_limit=1234,
        response_format={"type": "json_object"},
        parallel_tool_calls=False,
        enable_reasoner=True,
        max_reasoning_tokens=2000,
        secrets={"TOKEN": "s3cret"},
    )
    for agent in (created, client.agents.retrieve(created.id)):
        assert (agent.name, agent.description, agent.system) == (name, "Takes notes.", "You take notes.")
        assert agent.metadata == {"n": 1, "deep": {"list": [None, "ü"]}}
        assert (agent.timezone, agent.hidden, agent.project_id) == ("Europe/Berlin", True, "project-1")
        assert sorted(agent.tags) == ["blue", "red"]
        assert tool_names(agent) == ["memory_rethink", "web_search"]
        shared, human = agent.blocks
        assert shared.id == block.id
        assert (human.label, human.value, human.limit, human.description) == ("human", "Ada", 50, "Who.")
        assert human.read_only is True
        assert agent.memory.blocks == agent.blocks
        assert agent.llm_config.context_window == 20_000
        assert agent.llm_config.parallel_tool_calls is False
        assert (agent.llm_config.enable_reasoner, agent.llm_config.max_reasoning_tokens) == (True, 2000)
        assert (agent.message_buffer_autoclear, agent.max_files_open) == (True, 3)
        assert agent.per_file_view_window_char_limit == 1234
        assert agent.response_format is not None
        assert [(secret.key, secret.value) for secret in agent.secrets or ()] == [("TOKEN", "s3cret")]


def test_model_settings_are_kept_and_shown_in_the_older_form_too(client: Letta) -> None:
    settings: Any = {"provider_type": "openai", "temperature": 0.2, "max_output_tokens": 777}
    agent = client.agents.create(model=MODEL, model_settings=settings)
    assert agent.api_model_settings is not None
    kept = agent.api_model_settings.to_dict()
    assert {key: kept[key] for key in settings} == settings
    assert (kept["reasoning"], kept["strict"]) == ({"reasoning_effort": "high"}, True)
    plain = client.agents.create(model=MODEL).api_model_settings
    assert plain is not None
    shown = plain.to_dict()
    assert (shown["reasoning"], shown["strict"]) == ({"reasoning_effort": "minimal"}, False)
    assert (agent.llm_config.temperature, agent.llm_config.max_tokens) == (0.2, 777)
    assert (agent.llm_config.reasoning_effort, agent.llm_config.strict) == (None, False), "nobody asked for them"
    thinking: Any = {"provider_type": "openai", "reasoning": {"reasoning_effort": "low"}, "strict": True}
    older = client.agents.update(agent.id, model_settings=thinking).llm_config
    assert (older.reasoning_effort, older.strict) == ("low", True)


@pytest.mark.parametrize(
    "config",
    [
        {"handle": MODEL, "model": "ignored", "model_endpoint_type": "openai", "context_window": 9000},
        {"model": "gpt-4o-mini", "model_endpoint_type": "openai", "context_window": 9000},
        {"handle": None, "model": "gpt-4o-mini", "model_endpoint_type": "openai", "context_window": 9000},
    ],
    ids=["handle", "model", "handle null"],
)
def test_the_older_form_of_naming_a_model(client: Letta, config: Any) -> None:
    agent = client.agents.create(llm_config=config)
    assert (agent.model, agent.llm_config.handle, agent.llm_config.context_window) == (MODEL, MODEL, 9000)


def test_the_model_that_was_always_there_stands_for_the_servers(client: Letta, http: httpx.Client) -> None:
    alias = "letta/letta-free"
    agent = client.agents.create(model=alias)
    assert agent.model == MODEL
    older: Any = {"model": "letta-free", "model_endpoint_type": "openai", "context_window": 8192}
    assert client.agents.create(llm_config=older).model == MODEL
    client.agents.update(agent.id, model="openai/gpt-4o")
    assert client.agents.update(agent.id, model=alias).model == MODEL
    turn = http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO hi", "override_model": alias})
    assert turn.json()["messages"][-1]["content"] == "hi"
    conversation = client.conversations.create(agent_id=agent.id)
    changed = http.patch(f"/v1/conversations/{conversation.id}", json={"model": alias}).json()
    assert changed["model"] == MODEL


def test_an_agent_that_names_no_model_gets_the_servers(client: Letta) -> None:
    assert client.agents.create().model == MODEL


@pytest.mark.parametrize("embedding", [None, "openai/text-embedding-3-small"])
def test_an_embedding_is_shown_where_one_is_named(http: httpx.Client, embedding: str | None) -> None:
    for named in ({"embedding": embedding}, {} if embedding is None else {"embedding_config": {"handle": embedding}}):
        created = http.post("/v1/agents/", json={"model": MODEL, **named}).json()
        assert created["embedding"] == embedding
        config = created["embedding_config"]
        assert (config is None) == (embedding is None)
        assert config is None or config["handle"] == embedding
        assert config is None or {"embedding_model", "embedding_endpoint_type", "embedding_dim"} <= config.keys()


@pytest.mark.parametrize(
    ("agent_type", "tools"),
    [
        ("letta_v1_agent", DEFAULT_TOOLS),
        ("memgpt_v2_agent", ["send_message", "conversation_search", "memory_insert", "memory_replace"]),
        ("memgpt_agent", ["send_message", "conversation_search", "core_memory_append", "core_memory_replace"]),
        ("react_agent", []),
        ("workflow_agent", []),
    ],
)
def test_base_tools_by_type_of_agent(client: Letta, agent_type: Any, tools: list[str]) -> None:
    agent = client.agents.create(model=MODEL, agent_type=agent_type)
    assert (agent.agent_type, tool_names(agent)) == (agent_type, tools)


def test_base_tools_can_be_left_out(client: Letta) -> None:
    assert tool_names(client.agents.create(model=MODEL, include_base_tools=False)) == []
    only = client.agents.create(model=MODEL, include_base_tools=False, tools=["web_search"])
    assert tool_names(only) == ["web_search"]


def test_a_tool_named_twice_is_there_once(client: Letta) -> None:
    (search,) = client.tools.list(name="web_search")
    (insert,) = client.tools.list(name="memory_insert")
    agent = client.agents.create(model=MODEL, tools=["web_search", "web_search"], tool_ids=[search.id, insert.id])
    assert tool_names(agent) == [*DEFAULT_TOOLS, "web_search"]


def test_a_tool_id_given_twice_is_there_once(client: Letta) -> None:
    (search,) = client.tools.list(name="web_search")
    agent = client.agents.create(model=MODEL, tool_ids=[search.id, search.id])
    assert tool_names(agent) == [*DEFAULT_TOOLS, "web_search"]


def test_a_block_given_twice_is_there_once(new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    assert block_ids(new_agent(block_ids=[block.id, block.id])) == [block.id]


def test_blocks_come_in_the_order_they_were_given(new_agent: NewAgent, new_block: NewBlock) -> None:
    blocks = [new_block() for _ in range(4)]
    wanted = [blocks[place].id for place in (2, 0, 3, 1)]
    assert block_ids(new_agent(block_ids=wanted)) == wanted


def test_memory_blocks_are_blocks_of_their_own(client: Letta, new_agent: NewAgent) -> None:
    first = new_agent(memory_blocks=[{"label": "human", "value": "Ada"}])
    second = new_agent(memory_blocks=[{"label": "human", "value": "Ada"}])
    assert block_ids(first) != block_ids(second)
    assert client.blocks.retrieve(first.blocks[0].id).value == "Ada"


def test_first_messages_are_in_the_conversation(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(
        system="Be brief.",
        initial_message_sequence=[
            {"role": "user", "content": "Remember: heron."},
            {"role": "assistant", "content": "Heron."},
        ],
    )
    messages = list(client.agents.messages.list(agent.id, order="asc"))
    assert [message.message_type for message in messages] == ["system_message", "user_message", "assistant_message"]
    assert [getattr(message, "content", None) for message in messages[1:]] == ["Remember: heron.", "Heron."]
    assert agent.message_ids == [message.id for message in messages]


def test_two_agents_may_have_one_name(client: Letta, name: str) -> None:
    first, second = (client.agents.create(name=name, model=MODEL) for _ in range(2))
    assert {agent.id for agent in client.agents.list(name=name)} == {first.id, second.id}


# -- what a creation refuses; nothing is left of it ----------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("anthropic/claude-haiku-4-5", ["ANTHROPIC_API_KEY"]),
        ("google_ai/gemini-2.5-flash", ["GEMINI_API_KEY"]),
        ("ollama/llama3", ["OLLAMA_BASE_URL"]),
        ("nobody/nothing", ["nobody", "openai", "anthropic"]),
    ],
)
def test_an_unknown_or_unconfigured_provider_is_404_and_says_what_to_set(
    http: httpx.Client, name: str, model: str, words: list[str]
) -> None:
    assert_error(http.post("/v1/agents/", json={"name": name, "model": model}), 404, model, *words)
    assert named(http, name) == []


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/", "/gpt-4o-mini"])
def test_a_model_without_provider_or_name_is_422(http: httpx.Client, name: str, model: str) -> None:
    assert_error(http.post("/v1/agents/", json={"name": name, "model": model}), 422, repr(model), "provider/model")
    assert named(http, name) == []


def test_an_unknown_tool_is_400_and_names_it(http: httpx.Client, name: str) -> None:
    answer = http.post("/v1/agents/", json={"name": name, "model": MODEL, "tools": ["web_search", "no_such_tool"]})
    body = assert_error(answer, 400, "no_such_tool")
    assert "'web_search'" not in body["detail"]
    assert named(http, name) == []


def test_an_unknown_tool_id_is_404(http: httpx.Client, name: str) -> None:
    answer = http.post("/v1/agents/", json={"name": name, "model": MODEL, "tool_ids": [f"tool-{UNKNOWN}"]})
    assert_error(answer, 404, f"tool-{UNKNOWN}")
    assert named(http, name) == []


def test_an_unknown_block_is_404_and_no_agent_remains(
    client: Letta, http: httpx.Client, new_block: NewBlock, name: str
) -> None:
    block = new_block()
    label = f"label_{uuid4().hex}"
    given = {
        "name": name,
        "model": MODEL,
        "tags": [label],
        "block_ids": [block.id, f"block-{UNKNOWN}"],
        "memory_blocks": [{"label": label, "value": ""}],
    }
    assert_error(http.post("/v1/agents/", json=given), 404, f"block-{UNKNOWN}")
    assert named(http, name) == []
    assert client.blocks.agents.list(block.id).items == []
    assert client.blocks.list(label=label).items == []
    assert http.get("/v1/tags/", params={"query_text": label}).json() == []


def test_two_blocks_of_one_label_are_409_naming_both(http: httpx.Client, new_block: NewBlock, name: str) -> None:
    first = new_block()
    second = new_block(label=first.label)
    answer = http.post("/v1/agents/", json={"name": name, "model": MODEL, "block_ids": [first.id, second.id]})
    assert_error(answer, 409, first.id, second.id, str(first.label))
    assert named(http, name) == []


def test_a_memory_block_of_a_shared_blocks_label_is_409(
    client: Letta, http: httpx.Client, new_block: NewBlock, name: str
) -> None:
    block = new_block()
    own = {"label": block.label, "value": "mine"}
    answer = http.post(
        "/v1/agents/", json={"name": name, "model": MODEL, "block_ids": [block.id], "memory_blocks": [own]}
    )
    assert_error(answer, 409, block.id, str(block.label))
    assert named(http, name) == []
    assert [found.id for found in client.blocks.list(label=str(block.label))] == [block.id]


def test_a_memory_block_over_its_limit_is_422_and_no_agent_remains(http: httpx.Client, name: str) -> None:
    own = {"label": "human", "value": "a" * 11, "limit": 10}
    answer = http.post("/v1/agents/", json={"name": name, "model": MODEL, "memory_blocks": [own]})
    assert_error(answer, 422, "value", "11", "10")
    assert named(http, name) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": ""}, ["name"]),
        ({"name": "a" * 301}, ["name"]),
        ({"name": 5}, ["name", "5"]),
        ({"agent_type": "robot"}, ["agent_type", "'robot'"]),
        ({"tags": "red"}, ["tags", "'red'"]),
        ({"block_ids": ["nonsense"]}, ["'nonsense'", "block-"]),
        ({"block_ids": [f"agent-{UNKNOWN}"]}, [f"agent-{UNKNOWN}"]),
        ({"tool_ids": ["nonsense"]}, ["'nonsense'", "tool-"]),
        ({"memory_blocks": [{"value": "no label"}]}, ["memory_blocks.0.label"]),
        ({"memory_blocks": [{"label": "a", "value": 1}]}, ["memory_blocks.0.value", "1"]),
        ({"secrets": {"TOKEN": 5}}, ["secrets.TOKEN", "5"]),
        ({"metadata": "m"}, ["metadata", "'m'"]),
        ({"compaction_settings": {"model": 7}}, ["compaction_settings.model", "7"]),
        ({"compaction_settings": {"prompt": 5}}, ["compaction_settings.prompt", "5"]),
        ({"compaction_settings": {"model_settings": "hot"}}, ["compaction_settings.model_settings", "'hot'"]),
        ({"context_window_limit": 5}, ["context_window_limit", "5"]),
        ({"context_window_limit": "wide"}, ["context_window_limit", "'wide'"]),
        ({"initial_message_sequence": [{"role": "robot", "content": "a"}]}, ["initial_message_sequence.0.role"]),
        ({"initial_message_sequence": [{"role": "user", "content": ""}]}, ["initial_message_sequence.0.content"]),
        ({"system": "a\0b"}, ["system", "NUL"]),
        ({"description": "a\0b"}, ["description", "NUL"]),
        ({"tags": ["a\0b"]}, ["tags.0", "NUL"]),
        ({"memory_blocks": [{"label": "a", "value": "\0"}]}, ["memory_blocks.0.value", "NUL"]),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
@one_store
def test_a_field_that_cannot_be_used_is_named(
    http: httpx.Client, name: str, given: dict[str, Any], words: list[str]
) -> None:
    assert_error(http.post("/v1/agents/", json={"name": name, "model": MODEL} | given), 422, *words)
    assert named(http, name) == []


BAD_AGENTS = {
    "llm_config.context_window": '{"llm_config": {"handle": "openai/gpt-4o-mini", "context_window": "many"}}',
    "embedding_config.embedding_dim": '{"embedding_config": {"embedding_dim": "wide"}}',
    "model_settings.max_output_tokens": '{"model_settings": {"provider_type": "openai", "max_output_tokens": "x"}}',
    "model_settings.strict": '{"model_settings": {"provider_type": "openai", "strict": "perhaps"}}',
    "model_settings.temperature": '{"model_settings": {"provider_type": "openai", "temperature": "hot"}}',
    "half a surrogate pair in metadata": r'{"metadata": {"k": "\ud800"}}',
    "half a surrogate pair in a key": r'{"metadata": {"\ud800": 1}}',
    "half a surrogate pair in a secret": r'{"secrets": {"k": "\ud800"}}',
    "half a surrogate pair in a tool rule": r'{"tool_rules": [{"type": "\ud800"}]}',
    "a tool rule of no type": '{"tool_rules": [{"tool_name": "x"}]}',
    "metadata that is too deep": '{"metadata": {"k": ' + "[" * 500 + "]" * 500 + "}}",
}


def test_a_bad_configuration_breaks_neither_the_answer_nor_the_lists(start_server: StartServer) -> None:
    """Its own server: an agent that cannot be shown would break every list of the shared one."""
    server = start_server()
    faults = {}
    for what, given in BAD_AGENTS.items():
        with plain_client(server.url) as http:
            answer = http.post("/v1/agents/", content=given, headers=JSON)
        with plain_client(server.url) as http:
            listed = http.get("/v1/agents/", params={"limit": 1})
        if answer.status_code != 422 or listed.status_code != 200:
            faults[what] = (answer.status_code, listed.status_code)
    assert faults == {}


# -- retrieve ------------------------------------------------------------------------------------------------


def test_an_include_takes_nothing_away_from_an_agent(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    agent = new_agent(block_ids=[new_block().id], tags=["red"], secrets={"TOKEN": "t"})
    assert all((agent.blocks, agent.tools, agent.tags, agent.secrets))
    for wanted in ("agent.blocks", "agent.tools", "agent.tags", "agent.secrets"):
        assert client.agents.retrieve(agent.id, include=[wanted]) == agent  # type: ignore[list-item]
    assert client.agents.retrieve(agent.id) == agent


def test_the_older_form_of_asking_for_parts(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(tags=["red"])
    found = client.agents.retrieve(agent.id, include_relationships=["tags"])
    assert (found.tags, found.tools) == (["red"], [])


def test_an_unknown_agent_is_not_found(client: Letta) -> None:
    with pytest.raises(NotFoundError, match=UNKNOWN):
        client.agents.retrieve(f"agent-{UNKNOWN}")


# -- update --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "renamed"),
        ("description", "other"),
        ("system", "You are terse."),
        ("metadata", {"new": 1}),
        ("metadata", {}),
        ("timezone", "Asia/Tokyo"),
        ("model", "openai/gpt-4o"),
        ("tags", ["green"]),
        ("tags", []),
        ("hidden", True),
        ("max_files_open", 4),
        ("embedding", "openai/text-embedding-3-small"),
    ],
)
def test_an_update_changes_one_field_and_nothing_else(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, field: str, value: Any
) -> None:
    before = new_agent(
        description="d", metadata={"k": 1}, tags=["red"], block_ids=[new_block().id], secrets={"TOKEN": "t"}
    )
    after = client.agents.update(before.id, **{field: value})
    assert getattr(after, field) == value
    assert client.agents.retrieve(before.id) == after
    follows = {"updated_at", field} | {
        "model": {"llm_config", "compaction_settings"},
        "embedding": {"embedding_config"},
    }.get(field, set())
    kept = before.to_dict().keys() - follows
    assert {name: after.to_dict()[name] for name in kept} == {name: before.to_dict()[name] for name in kept}


def test_the_model_can_be_changed_in_the_older_form(client: Letta, new_agent: NewAgent) -> None:
    config: Any = {"model": "gpt-4o", "model_endpoint_type": "openai", "context_window": 9000}
    after = client.agents.update(new_agent().id, llm_config=config)
    assert (after.model, after.llm_config.model, after.llm_config.context_window) == ("openai/gpt-4o", "gpt-4o", 9000)


def test_reasoning_can_be_turned_on_in_the_older_form(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(llm_config={"handle": MODEL, "model": "x", "temperature": 0.25})
    for wanted in (True, False):
        config = client.agents.update(agent.id, reasoning=wanted).llm_config
        assert (config.enable_reasoner, config.temperature) == (wanted, 0.25)


def test_tools_are_replaced_as_a_whole(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    ids = {tool.name: tool.id for tool in client.tools.list()}
    wanted = ["web_search", "memory_rethink"]
    after = client.agents.update(agent.id, tool_ids=[ids[name] for name in [*wanted, "web_search"]])
    assert tool_names(after) == wanted
    assert tool_names(client.agents.update(agent.id, tool_ids=[])) == []


def test_blocks_are_replaced_as_a_whole(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    blocks = [new_block() for _ in range(3)]
    agent = new_agent(block_ids=[blocks[0].id, blocks[1].id])
    after = client.agents.update(agent.id, block_ids=[blocks[1].id, blocks[2].id])
    assert set(block_ids(after)) == {blocks[1].id, blocks[2].id}
    assert client.blocks.agents.list(blocks[0].id).items == []
    assert client.agents.update(agent.id, block_ids=[]).blocks == []


def test_a_block_of_the_same_label_may_take_anothers_place(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    old = new_block()
    new = new_block(label=old.label)
    agent = new_agent(block_ids=[old.id])
    assert block_ids(client.agents.update(agent.id, block_ids=[new.id])) == [new.id]


def test_secrets_are_replaced(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(secrets={"A": "1", "B": "2"})
    listed = http.get(f"/v1/agents/{agent.id}/secrets").raise_for_status().json()
    assert listed == [secret.model_dump(mode="json") for secret in agent.secrets or ()]
    assert {each["key"]: each["value"] for each in listed} == {"A": "1", "B": "2"}
    after = client.agents.update(agent.id, secrets={"B": "3"})
    (secret,) = after.secrets or ()
    assert (secret.key, secret.value) == ("B", "3")
    assert secret.model_fields_set >= {"created_at", "updated_at", "value_enc"}, "they are there, and null"
    assert client.agents.update(agent.id, secrets={}).secrets == []


def test_each_secret_has_an_identifier_of_its_own(new_agent: NewAgent) -> None:
    secrets = new_agent(secrets={"A": "1", "B": "2"}).secrets or []
    assert len({secret.id for secret in secrets}) == 2


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "anthropic/claude-haiku-4-5"}, 404, ["ANTHROPIC_API_KEY"]),
        ({"tool_ids": [f"tool-{UNKNOWN}"]}, 404, [f"tool-{UNKNOWN}"]),
        ({"block_ids": [f"block-{UNKNOWN}"]}, 404, [f"block-{UNKNOWN}"]),
        ({"name": ""}, 422, ["name"]),
        ({"system": "a\0b"}, 422, ["system"]),
        ({"tags": [1]}, 422, ["tags.0", "1"]),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
def test_a_refused_update_changes_nothing(
    client: Letta, http: httpx.Client, new_agent: NewAgent, change: dict[str, Any], status: int, words: list[str]
) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": ""}])
    answer = http.patch(f"/v1/agents/{agent.id}", json={"description": "never", "tags": ["never"]} | change)
    assert_error(answer, status, *words)
    assert client.agents.retrieve(agent.id) == agent


def test_an_update_to_two_blocks_of_one_label_changes_nothing(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    first = new_block()
    second = new_block(label=first.label)
    agent = new_agent(block_ids=[first.id])
    answer = http.patch(f"/v1/agents/{agent.id}", json={"name": "never", "block_ids": [first.id, second.id]})
    assert_error(answer, 409, first.id, second.id)
    assert client.agents.retrieve(agent.id) == agent


@pytest.mark.parametrize("name", ["name", "system", "timezone", "tags", "block_ids", "tool_ids", "model", "secrets"])
def test_null_leaves_a_field_as_it_is(client: Letta, http: httpx.Client, new_agent: NewAgent, name: str) -> None:
    agent = new_agent(tags=["red"], secrets={"A": "1"}, memory_blocks=[{"label": "human", "value": ""}])
    assert http.patch(f"/v1/agents/{agent.id}", json={name: None}).status_code == 200
    after = client.agents.retrieve(agent.id)
    assert after.to_dict() | {"updated_at": 0} == agent.to_dict() | {"updated_at": 0}


# -- delete --------------------------------------------------------------------------------------------------


def test_a_shared_block_outlives_its_agents(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="kept")
    agents = [new_agent(block_ids=[block.id]) for _ in range(2)]
    for agent in agents:
        client.agents.delete(agent.id)
    assert client.blocks.retrieve(block.id).value == "kept"
    assert client.blocks.agents.list(block.id).items == []


def test_a_deleted_agent_is_gone(http: httpx.Client, client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(tags=[f"tag_{uuid4().hex}"])
    client.agents.messages.create(agent.id, input="ECHO hello")
    assert agent.id in http.delete(f"/v1/agents/{agent.id}").json()["message"]
    for path in ("", "/tools", "/core-memory", "/core-memory/blocks", "/core-memory/blocks/x", "/messages"):
        assert_error(http.get(f"/v1/agents/{agent.id}{path}"), 404, agent.id)
    assert_error(http.delete(f"/v1/agents/{agent.id}"), 404, agent.id)
    assert_error(http.patch(f"/v1/agents/{agent.id}", json={"name": "x"}), 404, agent.id)
    assert_error(http.post(f"/v1/agents/{agent.id}/messages", json={"input": "hi"}), 404, agent.id)
    assert named(http, agent.name) == []
    assert http.get("/v1/tags/", params={"query_text": agent.tags[0]}).json() == []


# -- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_secrets_cannot_be_read_in_the_database_file(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    words = {"name": "AbraKadabraName", "secrets": {"SIMSALABIM": "OpenSesame"}}
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, tool_exec_environment_variables={"OLDER": "HocusPocus"}, **words)  # type: ignore[arg-type]
        client.agents.update(agent.id, secrets={"SIMSALABIM": "OpenSesame2", "OLDER": "HocusPocus2"})
    server.stop()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("folkmoot.sqlite3*"))
    assert b"AbraKadabraName" in stored
    assert [word for word in (b"OpenSesame", b"HocusPocus") if word in stored] == []
    assert "OpenSesame" not in server.log()
    server.start()
    with official_client(server.url) as client:
        secrets = client.agents.retrieve(agent.id).secrets or []
    assert {secret.key: secret.value for secret in secrets} == {"SIMSALABIM": "OpenSesame2", "OLDER": "HocusPocus2"}


def test_equal_tool_rules_are_kept_once(client: Letta, new_agent: NewAgent) -> None:
    rule: Any = {"type": "exit_loop", "tool_name": "memory_insert"}
    other: Any = {"type": "continue_loop", "tool_name": "memory_insert"}
    agent = new_agent(tool_rules=[rule, other, {**rule, "prompt_template": None}, rule])
    assert [each.type for each in agent.tool_rules or ()] == ["exit_loop", "continue_loop"]
    changed = client.agents.update(agent.id, tool_rules=[other, other, rule])
    assert [each.type for each in changed.tool_rules or ()] == ["continue_loop", "exit_loop"]
