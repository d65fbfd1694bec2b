"""What a program found on the recorded server and did not make itself, made here before its calls are made again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from replaying import Call, Replay, as_here, identifiers, with_source

from support.fixtures import MODEL

KEPT_OF_AGENTS = ("name", "agent_type", "description", "tags", "metadata", "embedding")
KEPT_OF_BLOCKS = ("label", "value", "limit", "description", "read_only", "metadata")


def set_up(replay: Replay, calls: Sequence[Call]) -> None:
    """Make the agents, blocks and tools that the calls name and do not make, and find the tools that every server has.

    Of those tools that are not here yet the calls do without.
    """
    shown = list(_things([call.response for call in calls]))
    tools = {tool["name"]: tool["id"] for tool in replay.http.get("/v1/tools", params={"limit": 200}).json()}
    for thing in shown:
        if thing["id"].startswith("tool-") and thing.get("name") in tools:
            replay.ids.live[thing["id"]] = tools[thing["name"]]
        elif str(thing.get("tool_type")).startswith("letta_"):
            replay.waiting_tools.add(thing["name"])
    _make_tool_servers(replay, calls)
    for thing in _found(calls, shown):
        _make(replay, thing)


def _found(calls: Sequence[Call], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is named before it is made.

    An import does not tell what it made: what a program first sees after one is taken for its own.
    """
    made: set[str] = set()
    named: set[str] = set()
    imports = False
    for call in calls:
        named |= identifiers([call.path, call.query, call.request]) - made
        imports |= call.path.endswith("/import")
        if imports or (call.method in ("POST", "PUT") and call.status == 200):
            made |= identifiers(call.response)
    return _first_shown({identifier: {"id": identifier} for identifier in named}, shown)


def _first_shown(first: dict[str, dict[str, Any]], shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return things as they are first shown: tools, then agents, then blocks, the oldest of each before the others."""
    for thing in shown:
        known = first.get(thing["id"])
        if known is not None and (len(known) == 1 or _is_whole(thing) > _is_whole(known)):
            first[thing["id"]] = thing | {name: value for name, value in known.items() if value}
    return sorted(
        first.values(),
        key=lambda thing: (not thing["id"].startswith("tool-"), thing["id"][:5], thing.get("created_at") or ""),
    )


def _things(value: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in a value that has an identifier."""
    if isinstance(value, dict):
        if isinstance(value.get("id"), str):
            yield value
        value = value.values()
    if not isinstance(value, str | int | float | None):
        for part in value:
            yield from _things(part)


def _is_whole(thing: dict[str, Any]) -> bool:
    """Tell whether a thing is shown with what belongs to it; newer clients were shown agents without."""
    return any(thing.get(part) for part in ("blocks", "tools", "value"))


def _make(replay: Replay, thing: dict[str, Any]) -> None:
    """Make an agent, a block or a tool that is not here; there is no way to make other things just so."""
    kind = thing["id"].partition("-")[0]
    if kind == "tool":
        _make_tool(replay, thing)
    if thing["id"] in replay.ids.live or kind not in ("agent", "block"):
        return
    for tool in thing.get("tools", ()):
        _make_tool(replay, tool)
    body = _agent(thing, replay.waiting_tools) if kind == "agent" else _block(thing)
    answer = replay.http.post(f"/v1/{kind}s", json=replay.ids.translate(as_here(body)))
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert replay.ids.pair(thing["id"], made["id"]) is None
    labels = {block["label"]: block["id"] for block in made.get("blocks", ())}
    for block in thing.get("blocks", ()):
        replay.ids.pair(block["id"], labels[block["label"]])


def _make_tool(replay: Replay, thing: dict[str, Any]) -> None:
    """Make a tool of one's own that is not here, of the source that is shown."""
    if thing["id"] in replay.ids.live or thing.get("tool_type") != "custom":
        return
    kept = {name: thing[name] for name in ("source_code", "description", "tags", "json_schema")}
    answer = replay.http.post("/v1/tools", json=with_source(kept, thing))
    assert answer.status_code == 200, answer.text
    assert replay.ids.pair(thing["id"], answer.json()["id"]) is None


def _make_tool_servers(replay: Replay, calls: Sequence[Call]) -> None:
    """Make the servers of tools that are listed before the program makes any."""
    about = [call for call in calls if call.name.endswith("/v1/tools/mcp/servers")]
    if not about or about[0].method != "GET":
        return
    for server in about[0].response.values():
        answer = replay.http.put("/v1/tools/mcp/servers", json=replay.counter.put_into(server))
        assert answer.status_code == 200, answer.text


def _model(thing: dict[str, Any]) -> str:
    """Return a model that is here: the agent's own where it is OpenAI's."""
    model = str(as_here(thing.get("model")))
    return model if model.startswith("openai/") else MODEL


def _block(thing: dict[str, Any]) -> dict[str, Any]:
    return {"label": "human", "value": ""} | {
        name: thing[name] for name in KEPT_OF_BLOCKS if thing.get(name) is not None
    }


def _agent(thing: dict[str, Any], waiting: set[str]) -> dict[str, Any]:
    """Return what makes an agent; one that is shown without its tools gets those of its kind."""
    tools = [tool["name"] for tool in thing.get("tools", ()) if tool["tool_type"].startswith("letta_")]
    own = [tool["id"] for tool in thing.get("tools", ()) if tool["tool_type"] == "custom"]
    return {"name": "found there", "model": _model(thing)} | {
        **{name: thing[name] for name in KEPT_OF_AGENTS if thing.get(name)},
        "memory_blocks": [_block(block) for block in thing.get("blocks", ())],
        **({"tools": [name for name in tools if name not in waiting], "include_base_tools": False} if tools else {}),
        **({"tool_ids": own} if own else {}),
    }
