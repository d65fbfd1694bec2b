"""Tools of one's own over HTTP: made of source that is read and not run, changed, listed, deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import ConflictError, Letta, NotFoundError
from letta_client.types import Tool

from support.fixtures import NewAgent, one_store


def fresh(word: str = "tool") -> str:
    return f"{word}_{uuid4().hex[:12]}"


def greeting(name: str, says: str = "Hello") -> str:
    return f'''
def {name}(who: str, times: int = 1) -> str:
    """Greet somebody.

    Args:
        who (str): Who to greet.
        times (int): How often.
    """
    return " ".join(["{says} " + who] * times)
'''


def new_tool(client: Letta, **fields: Any) -> Tool:
    return client.tools.create(**{"source_code": greeting(fresh()), **fields})


def test_a_tool_is_made_of_its_source(client: Letta) -> None:
    name = fresh()
    tool = client.tools.create(source_code=greeting(name), tags=["b", "a"], return_char_limit=50)
    assert (tool.name, tool.tool_type, tool.source_type) == (name, "custom", "python")
    assert tool.source_code == greeting(name)
    assert (tool.tags, tool.return_char_limit) == (["b", "a"], 50)
    assert tool.json_schema == {
        "name": name,
        "description": "Greet somebody.",
        "parameters": {
            "type": "object",
            "properties": {
                "who": {"type": "string", "description": "Who to greet."},
                "times": {"type": "integer", "description": "How often."},
            },
            "required": ["who"],
        },
    }
    assert client.tools.retrieve(tool.id) == tool


@one_store
def test_everything_that_is_sent_is_kept(client: Letta) -> None:
    fields: dict[str, Any] = {
        "description": "my own description",
        "default_requires_approval": True,
        "enable_parallel_execution": True,
        "pip_requirements": [{"name": "cowsay", "version": "6.1"}],
        "npm_requirements": [{"name": "left-pad", "version": None}],
    }
    tool = new_tool(client, **fields)
    assert {name: getattr(tool, name) for name in ("description", "default_requires_approval")} == {
        "description": "my own description",
        "default_requires_approval": True,
    }
    assert tool.enable_parallel_execution is True
    assert [(each.name, each.version) for each in tool.pip_requirements or ()] == [("cowsay", "6.1")]
    assert [(each.name, each.version) for each in tool.npm_requirements or ()] == [("left-pad", None)]


def test_what_has_the_name_already_is_changed_and_keeps_what_was_not_sent(client: Letta) -> None:
    name = fresh()
    tool = client.tools.create(source_code=greeting(name), tags=["x"], return_char_limit=50)
    again = client.tools.create(source_code=greeting(name, "Good day"))
    assert (again.id, again.tags, again.return_char_limit) == (tool.id, ["x"], 50)
    assert again.source_code == greeting(name, "Good day")
    upserted = client.tools.upsert(source_code=greeting(name), tags=["y"])
    assert (upserted.id, upserted.tags) == (tool.id, ["y"])


def test_many_who_make_one_tool_at_once_make_one(client: Letta) -> None:
    source = greeting(fresh())
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: client.tools.upsert(source_code=source).id, range(8)))
    assert len(set(made)) == 1


def test_a_changed_source_takes_name_and_schema_along(client: Letta) -> None:
    tool, name = new_tool(client, tags=["x"]), fresh("renamed")
    changed = client.tools.update(
        tool.id, source_code=f'def {name}(n: int) -> int:\n    """Double."""\n    return n * 2\n'
    )
    assert (changed.id, changed.name, changed.tags) == (tool.id, name, ["x"])
    assert changed.json_schema is not None
    assert changed.json_schema["name"] == name
    assert changed.json_schema["parameters"]["properties"] == {"n": {"type": "integer"}}  # type: ignore[index]
    with pytest.raises(ConflictError, match=name):
        client.tools.update(new_tool(client).id, source_code=changed.source_code or "")


@one_store
def test_a_schema_that_was_given_stays(client: Letta, http: httpx.Client) -> None:
    name = fresh("weather")
    given: dict[str, Any] = {
        "name": name,
        "description": "Weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
    }
    tool = client.tools.create(source_code="def weather(town, days=1):\n    return days\n", json_schema=given)
    assert (tool.name, tool.json_schema) == (name, given)
    changed = client.tools.update(tool.id, source_code="def weather(town, days=2):\n    return days\n")
    assert (changed.name, changed.json_schema) == (name, given)
    for broken, field in (
        ({"description": "x"}, "json_schema: it has no name"),
        ({"name": "a b"}, "json_schema.name"),
        ({"name": "a", "parameters": []}, "json_schema.parameters"),
        ({"name": "a", "description": 5}, "json_schema.description"),
    ):
        body = {"source_code": greeting(fresh()), "json_schema": broken}
        assert_error(http.post("/v1/tools", json=body), 400, field)


@one_store
def test_arguments_that_are_described_by_a_model_are_written_out(client: Letta, http: httpx.Client) -> None:
    name = fresh("order")
    schema: dict[str, Any] = {
        "type": "object",
        "title": "OrderArgs",
        "properties": {
            "item": {"type": "string", "title": "Item", "description": "What"},
            "sub": {"$ref": "#/$defs/Sub", "description": "More"},
            "title": {"type": "string", "title": "Title"},
        },
        "required": ["item"],
        "$defs": {"Sub": {"type": "object", "title": "Sub", "properties": {"note": {"type": "string", "title": "N"}}}},
    }
    source = f'def {name}(item, sub=None, title=""):\n    """Order a thing."""\n    return item\n'
    tool = client.tools.create(source_code=source, args_json_schema=schema)
    assert tool.args_json_schema == schema
    assert tool.json_schema == {
        "name": name,
        "description": "Order a thing.",
        "parameters": {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "What"},
                "sub": {"type": "object", "properties": {"note": {"type": "string"}}, "description": "More"},
                "title": {"type": "string"},
            },
            "required": ["item"],
        },
    }
    loop = {**schema, "$defs": {"Sub": {"type": "object", "properties": {"sub": {"$ref": "#/$defs/Sub"}}}}}
    twice = {
        f"T{number}": {"properties": {each: {"$ref": f"#/$defs/T{number + 1}"} for each in "xy"}}
        for number in range(40)
    }
    for broken, says in (
        ({"nonsense": 1}, "args_json_schema"),
        (loop, "made of itself"),
        ({**schema, "$defs": {**twice, "Sub": {"$ref": "#/$defs/T0"}, "T40": {"type": "string"}}}, "more than"),
        ({**schema, "$defs": {}}, "'#/$defs/Sub' names nothing"),
        ({**schema, "$defs": [1]}, "$defs: it has to be an object"),
        ({"type": "object", "properties": {"item": 5}}, "properties.item"),
        ({"type": "object", "properties": {"item": {"anyOf": [5]}}}, "a part of it is no JSON Schema"),
        ({"type": "object", "properties": {"item": {"type": "string"}}, "required": ["other"]}, "required"),
        ({"type": "object", "properties": {"item": {"type": "string"}}, "required": "item"}, "required"),
    ):
        body = {"source_code": source, "args_json_schema": broken}
        assert_error(http.post("/v1/tools", json=body), 400, says)


@one_store
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", ["it is empty"]),
        ("def broken(:\n", ["line 1", "invalid syntax"]),
        ("x = 1\n", ["no function"]),
        ("def nodoc(a: int):\n    return a\n", ["nodoc has no docstring"]),
        ('def f(a):\n    """Doc."""\n', ["parameter 'a' of f has no type", "a: str"]),
        ('def f(a: Nothing):\n    """Doc."""\n', ["parameter 'a' of f", "Nothing", "json_schema"]),
        ('def f(*rest: int):\n    """Doc."""\n', ["parameter 'rest' of f", "plain parameter"]),
        ('class C:\n    pass\ndef f(c: C):\n    """Doc."""\n', ["parameter 'c' of f", "class C", "dataclass"]),
        ('def größe(a: int):\n    """Doc."""\n', ["größe", "a to z"]),
        ("(" * 5000, ["cannot be read"]),
        ("-" * 150_000 + "1", ["nested too deeply"]),
    ],
)
def test_what_cannot_be_read_names_the_place_and_the_remedy(source: str, says: list[str], http: httpx.Client) -> None:
    for call in (
        lambda: http.post("/v1/tools", json={"source_code": source}),
        lambda: http.post("/v1/tools/generate-schema", json={"code": source}),
    ):
        assert_error(call(), 400, *says)


def taking(hint: str, doc: str = "d", before: str = "") -> str:
    return f'{before}def f(x: {hint}):\n    "{doc}"\n'


@one_store
@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param(taking("a" + ".b" * 500), "nested too deeply", id="a long name"),
        pytest.param(taking(f"Literal[{'-' * 500}1]"), "nested too deeply", id="minus"),
        pytest.param(
            taking("E", before="from enum import Enum\nclass E(Enum):\n    A = E.A\n"),
            "nested too deeply",
            id="a member that is itself",
        ),
        pytest.param(taking("Optional[()]"), "the type Optional[()] cannot be described", id="nothing optional"),
        pytest.param(taking("List[()]"), "the type List[()] cannot be described", id="a list of nothing"),
        pytest.param(taking(f"Literal[0x{'f' * 9000}]"), "thousands of digits", id="digits"),
        pytest.param(taking("Literal[1e999]"), "infinite", id="infinite"),
        pytest.param(taking("int", doc=r"a\ud800"), "half a character", id="half a character"),
        pytest.param(taking("int", doc=r"a\0"), "NUL", id="NUL"),
    ],
)
def test_a_source_that_tells_no_schema_that_can_be_kept_is_refused(http: httpx.Client, source: str, says: str) -> None:
    assert_error(http.post("/v1/tools", json={"source_code": source}), 400, "source_code", says)


@one_store
def test_a_source_may_speak_of_what_it_may_not_have(http: httpx.Client) -> None:
    source = taking("int", doc=r"Removes \\u0000 and \\ud800.").replace("def f", f"def f_{uuid4().hex}")
    made = http.post("/v1/tools", json={"source_code": source}).raise_for_status().json()
    assert made["description"] == r"Removes \u0000 and \ud800."


@one_store
def test_references_that_lead_deep_are_refused(http: httpx.Client) -> None:
    definitions = {f"A{number}": {"allOf": [{"$ref": f"#/$defs/A{number + 1}"}]} for number in range(600)}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A0"}}, "$defs": {**definitions, "A600": {}}}
    body = {"source_code": taking("int"), "args_json_schema": schema}
    assert_error(http.post("/v1/tools", json=body), 400, "nested too deeply")


@one_store
def test_reading_a_source_does_not_run_it(http: httpx.Client, tmp_path: Any) -> None:
    mark = tmp_path / "it-ran"
    source = f"open({str(mark)!r}, 'w').close()\n" + greeting(fresh()).replace("= 1", f"= open({str(mark)!r}, 'w')")
    answer = http.post("/v1/tools", json={"source_code": source})
    assert answer.status_code == 200
    assert not mark.exists()


@one_store
def test_a_schema_without_a_tool(http: httpx.Client) -> None:
    before = http.get("/v1/tools/count").json()
    answer = http.post("/v1/tools/generate-schema", json={"code": greeting("greet")})
    assert answer.json()["parameters"]["required"] == ["who"]
    assert http.get("/v1/tools/count").json() == before
    assert_error(http.post("/v1/tools/generate-schema", json={"code": "x", "source_type": "ruby"}), 400, "ruby")


def test_the_name_of_a_built_in_tool_is_taken(client: Letta, http: httpx.Client) -> None:
    for call in (client.tools.create, client.tools.upsert):
        with pytest.raises(ConflictError, match="memory_insert"):
            call(source_code=greeting("memory_insert"))
    (built_in,) = client.tools.list(name="memory_insert")
    tool = new_tool(client)
    with pytest.raises(ConflictError, match="memory_insert"):
        client.tools.update(tool.id, source_code=greeting("memory_insert"))
    with pytest.raises(ConflictError, match="comes with the server"):
        client.tools.update(built_in.id, description="hacked")
    assert_error(http.delete(f"/v1/tools/{built_in.id}"), 409, "comes with the server")
    assert client.tools.retrieve(built_in.id) == built_in


def test_a_deleted_tool_is_taken_from_its_agents(client: Letta, new_agent: NewAgent) -> None:
    tool = new_tool(client)
    agents = [new_agent(tool_ids=[tool.id], include_base_tools=False) for _ in range(3)]
    assert [tool.name for tool in agents[0].tools] == [tool.name]
    client.tools.delete(tool.id)
    assert [client.agents.retrieve(agent.id).tools for agent in agents] == [[], [], []]
    for call in (client.tools.delete, client.tools.retrieve, client.tools.update):
        with pytest.raises(NotFoundError, match=tool.id):
            call(tool.id)


def test_lists_show_own_tools_first_and_every_filter_holds_for_them(client: Letta, http: httpx.Client) -> None:
    first, second = new_tool(client), new_tool(client)
    newest = [tool.id for tool in client.tools.list(limit=2).items]
    assert newest == [second.id, first.id]
    assert [tool.id for tool in client.tools.list(after=second.id, limit=1).items] == [first.id]
    assert [tool.id for tool in client.tools.list(order="asc", limit=1000).items][-2:] == [first.id, second.id]
    names = f"{first.name},{second.name}"
    for wanted in ({"names": names}, {"tool_ids": [first.id, second.id]}, {"search": "tool_", "limit": 2}):
        assert {tool["id"] for tool in http.get("/v1/tools", params=wanted).json()} == {first.id, second.id}
    assert client.tools.list(name=first.name).items == [first]
    assert all(tool.tool_type == "custom" for tool in client.tools.list(tool_types=["custom"]))
    assert first.id not in {tool.id for tool in client.tools.list(exclude_tool_types=["custom"])}
    assert http.get("/v1/tools/count", params={"name": first.name}).json() == 1
    assert_error(http.get("/v1/tools", params={"tool_types": "nope"}), 400, "tool_types", "'nope'", "custom")


@one_store
def test_bounds_name_the_field(http: httpx.Client) -> None:
    for field, value in (
        ("return_char_limit", 0),
        ("return_char_limit", 1_000_001),
        ("source_code", "#" * 200_001),
        ("pip_requirements", [{"name": "x"}] * 101),
        ("tags", ["x"] * 1001),
        ("metadata_", {"limits": {"time": 3}}),
        ("metadata_", {"limits": {"memory": 0}}),
        ("metadata_", {"limits": {"processes": 1.5}}),
        ("metadata_", {"limits": [1]}),
    ):
        body = {"source_code": greeting(fresh()), field: value}
        assert_error(http.post("/v1/tools", json=body), 422, field)
    assert_error(http.post("/v1/tools", json={"tags": ["x"]}), 422, "source_code")
    assert_error(http.get(f"/v1/tools/tool-{UNKNOWN}"), 404, UNKNOWN)


def test_a_default_approval_comes_with_the_tool(client: Letta, new_agent: NewAgent) -> None:
    tool = new_tool(client, default_requires_approval=True)
    rule = {"tool_name": tool.name, "type": "requires_approval"}

    def rules(agent: Any) -> list[Any]:
        return [
            {"tool_name": each.tool_name, "type": each.type}
            for each in client.agents.retrieve(agent.id).tool_rules or ()
        ]

    made = new_agent(tool_ids=[tool.id])
    attached, updated = new_agent(), new_agent()
    for _ in range(2):
        client.agents.tools.attach(tool.id, agent_id=attached.id)
        client.agents.update(updated.id, tool_ids=[tool.id])
    assert rules(made) == rules(attached) == rules(updated) == [rule]
    client.agents.update(updated.id, tool_rules=[])
    client.agents.update(updated.id, tool_ids=[tool.id])
    assert rules(updated) == [], "a decision against it holds as long as the agent has the tool"


def test_tools_are_found_by_words(client: Letta, http: httpx.Client) -> None:
    word, shop = f"zz{uuid4().hex[:10]}", fresh()
    named = client.tools.create(source_code=greeting(f"{word}_price"), tags=[shop])
    described = client.tools.create(
        source_code=greeting(fresh()), description=f"Looks up the {word} of a thing", tags=[shop, f"{shop}-x"]
    )
    parameter = client.tools.create(source_code=f'def {fresh()}({word}: int):\n    """Do."""\n')

    def search(**body: object) -> list[dict[str, Any]]:
        return list(http.post("/v1/tools/search", json=body).raise_for_status().json())

    found = search(query=word)
    assert [each["tool"]["id"] for each in found] == [named.id, described.id, parameter.id]
    assert [each["fts_rank"] for each in found] == [1, 2, 3]
    scores = [each["combined_score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] <= 1
    assert word in found[1]["embedded_text"]
    assert [each["tool"]["id"] for each in search(query=f"PRICE {word}", tags=[shop])] == [named.id, described.id]
    assert [each["tool"]["id"] for each in search(query=word, tags=[f"{shop}-x"])] == [described.id]
    assert [each["tool"]["id"] for each in search(query=word, limit=1)] == [named.id]
    assert search(query=word, tool_types=["letta_core"]) == []
    assert "memory_insert" in {each["tool"]["name"] for each in search(query="insert memory block")}
    assert search(query=f"nothing{uuid4().hex}") == []
    assert len(search(limit=3)) == 3
    assert_error(http.post("/v1/tools/search", json={"query": "x", "search_mode": "vector"}), 400, "search_mode")
    assert_error(http.post("/v1/tools/search", json={"limit": 101}), 422, "limit")
