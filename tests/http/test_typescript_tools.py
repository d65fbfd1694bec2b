"""Tools in TypeScript: described by their source, run in Node.js behind the same walls, with packages of npm."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import assert_error
from letta_client import Letta

from support.clients import official_client, plain_client
from support.fixtures import MODEL, StartServer, one_store

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("npm") is None, reason="Node.js with npm, and walls, which are Linux's"
)

SOURCE = """
interface Item { name: string; amount?: number }

/**
 * Look up what things cost.
 * @param items What is bought.
 * @param currency In which money.
 */
export async function TOOL(items: Item[], currency: "EUR" | "USD" = "EUR"): Promise<object> {
  console.log(`looking for ${items.length}`);
  if (items.length === 0) throw new Error("nothing to look for");
  return { total: items.reduce((sum, item) => sum + 4 * (item.amount ?? 1), 0), currency };
}
"""


def named(source: str = SOURCE) -> tuple[str, str]:
    name = f"tool_{uuid4().hex[:12]}"
    return source.replace("TOOL", name), name


def returned(client: Letta, agent_id: str, name: str, arguments: str) -> Any:
    """Return the tool return of a turn; one that could not be run since nothing can be installed skips the test."""
    said = client.agents.messages.create(agent_id, input=f"CALL {name} {arguments}").messages
    assert said[-1].content == "done"  # type: ignore[union-attr]
    answer: Any = next(message for message in said if message.message_type == "tool_return_message")
    if "cannot be reached" in answer.tool_return:
        pytest.skip("npm's registry cannot be reached")
    return answer


def test_a_tool_in_typescript_is_made_of_its_source_and_used_in_a_turn(client: Letta) -> None:
    source, name = named()
    tool = client.tools.create(source_code=source, source_type="typescript")
    assert (tool.name, tool.source_type) == (name, "typescript")
    item = {"type": "object", "properties": {"name": {"type": "string"}, "amount": {"type": "number"}}}
    assert tool.json_schema == {
        "name": name,
        "description": "Look up what things cost.",
        "parameters": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": {**item, "required": ["name"]}, "description": "What is bought."},
                "currency": {"type": "string", "enum": ["EUR", "USD"], "description": "In which money."},
            },
            "required": ["items"],
        },
    }
    agent = client.agents.create(model=MODEL, include_base_tools=False, tool_ids=[tool.id], secrets={"HOUSE": "ours"})
    good = returned(client, agent.id, name, '{"items": [{"name": "tea", "amount": 2}, {"name": "bread"}]}')
    assert (good.status, good.tool_return) == ("success", '{"total": 12, "currency": "EUR"}')
    assert good.stdout == ["looking for 2\n"]
    bad = returned(client, agent.id, name, '{"items": []}')
    assert bad.status == "error"
    assert bad.tool_return.startswith(f"Error executing function {name}: Error: nothing to look for\n")
    assert "<code>:" in bad.tool_return
    changed = client.tools.update(tool.id, source_code=f"export function {name}() {{ return process.env.HOUSE; }}")
    assert changed.source_type == "typescript"
    assert returned(client, agent.id, name, "{}").tool_return == "ours"


MEMORY = """
interface Note { text: string; agent_state?: any }
export function TOOL({ text, agent_state }: Note) {
  agent_state.memory.update_block_value("human", `${agent_state.memory.get_block("human").value}, ${text}`);
  return `${agent_state.name} has ${agent_state.memory.list_block_labels().join(" and ")}`;
}
"""


@one_store
def test_a_tool_sees_its_agent_and_changes_its_memory(client: Letta) -> None:
    apart, first = named(MEMORY)
    plain, second = named(
        "export const TOOL = (times: number, agent_state: AgentState) => { agent_state.memory.get_block('human').value"
        " += '!'.repeat(times); return { id: agent_state.id, own: process.env.LETTA_AGENT_ID }; }"
    )
    tools = [client.tools.create(source_code=each, source_type="typescript") for each in (apart, plain)]
    parameters = [tool.json_schema["parameters"] for tool in tools if tool.json_schema is not None]
    assert [each["properties"] for each in parameters] == [{"text": {"type": "string"}}, {"times": {"type": "number"}}]  # type: ignore[index]
    assert [each["required"] for each in parameters] == [["text"], ["times"]]  # type: ignore[index]
    agent = client.agents.create(
        name="scribe",
        model=MODEL,
        include_base_tools=False,
        tool_ids=[tool.id for tool in tools],
        memory_blocks=[{"label": "human", "value": "Ada"}],
    )
    assert returned(client, agent.id, first, '{"text": "likes tea"}').tool_return == "scribe has human"
    answer = returned(client, agent.id, second, '{"times": 2}')
    assert json.loads(answer.tool_return) == {"id": agent.id, "own": agent.id}
    block = client.agents.blocks.retrieve("human", agent_id=agent.id)
    assert block.value == "Ada, likes tea!!"
    client.tools.update(tools[1].id, source_code=plain.replace("'human'", "'pets'"))
    assert "There is no block pets; there are human" in returned(client, agent.id, second, '{"times": 2}').tool_return


@one_store
def test_packages_of_npm_are_installed_and_source_is_run_once(client: Letta, http: httpx.Client) -> None:
    source, name = named(
        'import ms from "ms";\nexport function TOOL(text: string): number { return ms(text as any); }\n'
    )
    needs = [{"name": "ms", "version": "2"}]
    tool = client.tools.create(source_code=source, source_type="typescript", npm_requirements=needs)  # type: ignore[arg-type, list-item]
    assert http.get(f"/v1/tools/{tool.id}").json()["environment"]["state"] in ("making", "ready", "failed")
    agent = client.agents.create(model=MODEL, include_base_tools=False, tool_ids=[tool.id])
    assert returned(client, agent.id, name, '{"text": "2 days"}').tool_return == "172800000"
    assert http.get(f"/v1/tools/{tool.id}").json()["environment"] == {"state": "ready", "reason": None}
    body = {"source_code": source, "source_type": "typescript", "args": {"text": "1s"}, "npm_requirements": needs}
    once = http.post("/v1/tools/run", json=body).json()
    assert (once["name"], once["tool_return"]) == (name, "1000")


@one_store
def test_a_schema_without_a_tool_and_what_cannot_be_read(http: httpx.Client) -> None:
    body = {"code": "export function tsadd(a: number, b: number): number {\n  return a + b;\n}\n"}
    schema = http.post("/v1/tools/generate-schema", json={**body, "source_type": "typescript"}).json()
    number = {"type": "number"}
    assert (schema["name"], schema["parameters"]["properties"]) == ("tsadd", {"a": number, "b": number})
    refused = {"source_code": "\nexport function f(at: Date) {}", "source_type": "typescript"}
    answer = http.post("/v1/tools", json=refused)
    assert_error(answer, 400, "parameter 'at' of f", "json_schema")
    assert answer.json()["line"] == 2


@one_store
def test_a_source_that_takes_too_much_memory_to_read_is_refused(http: httpx.Client) -> None:
    """These 40,000 characters took 1.7 GB; five times as many, with its square, more than most machines have."""
    source = f"export function f(x: number) {{ return {'a<b,' * 10_000} }}"
    answer = http.post("/v1/tools", json={"source_code": source, "source_type": "typescript"})
    assert_error(answer, 400, "nested too deeply or too large to be read")


@one_store
@pytest.mark.parametrize("hint", [r'"\ud800"', "1e999", r'{"\ud800": number}'])
def test_a_type_that_json_cannot_carry_is_refused(http: httpx.Client, hint: str) -> None:
    source = f"export function f(x: {hint}) {{}}"
    answer = http.post("/v1/tools", json={"source_code": source, "source_type": "typescript"})
    assert_error(answer, 400, "which JSON cannot carry")


@one_store
def test_a_machine_without_node_makes_the_tool_and_says_what_is_missing(
    start_server: StartServer, tmp_path: Any
) -> None:
    server = start_server(env={"PATH": str(tmp_path)})
    source, name = named()
    with official_client(server.url) as client, plain_client(server.url) as http:
        tool = client.tools.create(source_code=source, source_type="typescript")
        shown = http.get(f"/v1/tools/{tool.id}").json()["environment"]
        assert shown["state"] == "failed"
        assert "Node.js is not installed" in shown["reason"]
        agent = client.agents.create(model="offline/notetaker", include_base_tools=False, tool_ids=[tool.id])
        answer = http.post(f"/v1/agents/{agent.id}/tools/{name}/run", json={"args": {"items": []}}).json()
        assert answer["status"] == "error"
        assert "Node.js is not installed on the server's machine" in answer["stderr"][0]
