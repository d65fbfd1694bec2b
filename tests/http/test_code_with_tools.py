"""`run_code_with_tools`: code of an agent's that calls the agent's own tools."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from support.fixtures import MODEL, NewAgent, NewBlock, StartServer, one_store
from support.polling import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")

CODE = "run_code_with_tools"


class Coder:
    """An agent that runs code with tools, and its block."""

    def __init__(self, http: httpx.Client, client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
        self.http, self.client = http, client
        self.block = new_block(value="")
        self._new_agent = new_agent
        self.agent_id = ""

    def make(self, *tools: str, tool_ids: list[str] | None = None, **fields: Any) -> None:
        self.agent_id = self._new_agent(
            include_base_tools=False,
            tools=[CODE, "memory_insert", *tools],
            tool_ids=tool_ids or [],
            block_ids=[self.block.id],
            **fields,
        ).id

    def run(self, code: str, then: str = "", **fields: Any) -> dict[str, Any]:
        """Return the return of the code, which the model has written."""
        said = f"CALL {CODE} {json.dumps({'code': code})}{then}"
        messages = self.turn(said, **fields)
        return next(each for each in messages if each["message_type"] == "tool_return_message")

    def turn(self, said: str, **fields: Any) -> list[dict[str, Any]]:
        answer = self.http.post(f"/v1/agents/{self.agent_id}/messages", json={"input": said, **fields})
        assert answer.status_code == 200, answer.text
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def value(self) -> str:
        return self.client.blocks.retrieve(self.block.id).value


@pytest.fixture
def coder(http: httpx.Client, client: Letta, new_agent: NewAgent, new_block: NewBlock) -> Coder:
    """An agent to be made."""
    return Coder(http, client, new_agent, new_block)


def own_tool(client: Letta, body: str, parameters: str = "item: str") -> tuple[str, str]:
    """Return the identifier and the name of a new tool of somebody's own."""
    name = f"own_{uuid4().hex[:12]}"
    source = f'def {name}({parameters}):\n    """Do it.\n\n    Args:\n        item: What.\n    """\n    {body}\n'
    return client.tools.create(source_code=source).id, name


def test_code_calls_tools_by_name_and_the_agent_its_run_and_its_step_are_the_author(coder: Coder) -> None:
    tool_id, price_of = own_tool(coder.client, 'return {"item": item, "price": 4}')
    coder.make(tool_ids=[tool_id])
    label = coder.block.label
    returned = coder.run(
        f"for item in ('tea', 'bread'):\n"
        f"    found = {price_of}(item=item)\n"
        f"    memory_insert({label!r}, f'{{item}}: {{found[\"price\"]}}')\n"
        f"found"
    )
    assert (returned["status"], returned["tool_return"]) == ("success", '{"item": "bread", "price": 4}'), returned
    assert coder.value().split() == ["tea:", "4", "bread:", "4"]
    shown = [(each["name"], each["status"]) for each in returned["inner_calls"]]
    assert shown == [(price_of, "success"), ("memory_insert", "success")] * 2
    assert json.loads(returned["inner_calls"][0]["arguments"]) == {"item": "tea"}
    for version in coder.http.get(f"/v1/blocks/{coder.block.id}/history").json()[:2]:
        author = version["author"]
        assert (author["type"], author["id"]) == ("agent", coder.agent_id)
        assert (author["run_id"], author["step_id"]) == (returned["run_id"], returned["step_id"])
    page = coder.http.get(f"/agents/{coder.agent_id}").text
    assert f"✓ {price_of}(" in page


@one_store
def test_the_page_shows_calls_that_called_nothing_too(coder: Coder) -> None:
    coder.make()
    coder.turn(f"CALL memory_insert {json.dumps({'label': coder.block.label, 'new_string': 'a line'})}")
    assert "a line" in coder.http.get(f"/agents/{coder.agent_id}").raise_for_status().text


@one_store
def test_the_edits_that_code_made_are_taken_back_with_the_run(coder: Coder) -> None:
    coder.make()
    returned = coder.run(f"memory_insert({coder.block.label!r}, 'a')\nmemory_insert({coder.block.label!r}, 'b')")
    assert coder.value() == "a\nb"
    assert coder.http.post(f"/v1/runs/{returned['run_id']}/revert").status_code == 200
    assert coder.value() == ""


@one_store
def test_what_a_tool_could_not_do_is_an_exception_in_the_code(coder: Coder) -> None:
    coder.make("memory_replace")
    label = coder.block.label
    caught = coder.run(
        f"memory_insert({label!r}, 'kept')\n"
        f"try:\n    memory_replace({label!r}, old_string='nothing', new_string='x')\n"
        f"except ToolError as error:\n    print(type(error).__name__, error)"
    )
    assert caught["status"] == "success"
    assert caught["tool_return"].startswith("ToolError ")
    assert "0 times" in caught["tool_return"] or "does not" in caught["tool_return"]
    assert [each["status"] for each in caught["inner_calls"]] == ["success", "error"]
    raised = coder.run(f"memory_insert({label!r})")
    assert raised["status"] == "error"
    assert "ToolError: memory_insert was not run: " in raised["tool_return"]
    assert "new_string" in raised["tool_return"]
    assert coder.value() == "kept"


@one_store
@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("memory_insert(LABEL, 'x')", "it needs approval"),
        ("send_message('hello')", "it ends your turn"),
        ("run_code_with_tools('1')", "runs no further code"),
        ("send_message_to_agent_and_wait_for_reply('hello', 'agent-1')", "it begins turns of other agents"),
        ("send_message_to_agent_async('hello', 'agent-1')", "it begins turns of other agents"),
        ("look_outside(where='east')", "the client runs it"),
        ("call_tool('no_such_tool')", "There is no tool 'no_such_tool'"),
        ("ask({'name': ['memory_insert']})", "name 'ask' is not defined"),
    ],
)
def test_code_calls_nothing_that_the_agent_could_not_call_now_or_that_waits(coder: Coder, call: str, why: str) -> None:
    rules = [{"type": "requires_approval", "tool_name": "memory_insert"}]
    asking = ("send_message_to_agent_and_wait_for_reply", "send_message_to_agent_async")
    coder.make("send_message", *asking, tool_rules=rules)
    outside = {"name": "look_outside", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    returned = coder.run(call.replace("LABEL", repr(coder.block.label)), client_tools=[outside])
    assert returned["status"] == "error"
    assert why in returned["tool_return"]
    assert "inner_calls" not in returned
    assert coder.value() == ""


@one_store
def test_a_call_that_was_approved_beforehand_can_be_made_by_code(coder: Coder) -> None:
    coder.make(tool_rules=[{"type": "requires_approval", "tool_name": "memory_insert"}])
    approval = {"tool_name": "memory_insert", "arguments": {"label": coder.block.label}, "exact": False}
    given = coder.http.post(f"/v1/agents/{coder.agent_id}/standing-approvals", json=approval)
    assert given.status_code in (200, 201), given.text
    assert coder.run(f"memory_insert({coder.block.label!r}, 'x')")["status"] == "success"
    assert coder.value() == "x"


@one_store
def test_the_rules_count_what_code_calls_among_the_calls_of_the_turn(coder: Coder) -> None:
    coder.make(tool_rules=[{"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 2}])
    label = coder.block.label
    again = json.dumps({"label": label, "new_string": "behind"})
    messages = coder.turn(
        f"CALL {CODE} {json.dumps({'code': f'for n in range(3): memory_insert({label!r}, str(n))'})}\n"
        f"THEN CALL memory_insert {again}"
    )
    code, behind = [each for each in messages if each["message_type"] == "tool_return_message"]
    assert "ToolError: memory_insert was not run: it may be called at most 2 times in a turn" in code["tool_return"]
    assert (behind["name"], behind["status"]) == ("memory_insert", "error")
    assert coder.value() == "0\n1"


@one_store
def test_what_code_called_counts_also_behind_an_approval(coder: Coder) -> None:
    rules = [
        {"type": "max_count_per_step", "tool_name": "memory_insert", "max_count_limit": 1},
        {"type": "requires_approval", "tool_name": "conversation_search"},
    ]
    coder.make("conversation_search", tool_rules=rules)
    label = coder.block.label
    behind = json.dumps({"label": label, "new_string": "behind"})
    code = json.dumps({"code": f"memory_insert({label!r}, 'within')"})
    said = f"CALL {CODE} {code}\nTHEN CALL conversation_search {{}}\nTHEN CALL memory_insert {behind}"
    request = coder.turn(said)[-1]
    assert request["message_type"] == "approval_request_message"
    approval = {"type": "approval", "approve": True, "tool_call_id": request["tool_call"]["tool_call_id"]}
    answer = coder.http.post(
        f"/v1/agents/{coder.agent_id}/messages", json={"messages": [{"type": "approval", "approvals": [approval]}]}
    ).json()
    last = [each for each in answer["messages"] if each["message_type"] == "tool_return_message"][-1]
    assert (last["name"], last["status"]) == ("memory_insert", "error")
    assert coder.value() == "within"


@one_store
def test_code_may_call_a_hundred_times(coder: Coder) -> None:
    coder.make()
    returned = coder.run(
        f"for n in range(150):\n    try:\n        memory_insert({coder.block.label!r}, str(n))\n"
        "    except ToolError as error:\n        print(n, error)\n        break"
    )
    assert returned["tool_return"].startswith("100 Code may call tools 100 times")
    assert coder.value().split()[-1] == "99"
    refused = coder.run(
        "for n in range(150):\n    try:\n        call_tool('nothing')\n    except ToolError as error:\n"
        "        if 'There is no tool' not in str(error):\n            break\nn"
    )
    assert refused["tool_return"] == "100"


@one_store
def test_what_is_no_question_is_not_answered_and_the_server_goes_on(coder: Coder) -> None:
    coder.make()
    label = coder.block.label
    large = coder.run(f"memory_insert({label!r}, 'x' * 2_000_000)")
    assert (large["status"], "inner_calls" in large) == ("error", False)
    assert "Error" in large["tool_return"]
    wild = coder.run(
        "import os\nfor descriptor in range(3, 64):\n    try:\n"
        "        os.write(descriptor, b'\\x00\\x00\\x00\\x04{{{{')\n    except OSError:\n        pass"
    )
    assert "inner_calls" not in wild
    assert coder.run(f"memory_insert({label!r}, 'on')")["status"] == "success"
    assert coder.value() == "on"


@one_store
def test_code_that_waits_for_a_tool_leaves_its_place_to_it(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_CALLS": "1"})
    with Letta(base_url=server.url, api_key="unused", max_retries=0) as client:
        tool_id, double = own_tool(client, "return 2 * item", "item: int")
        agent = client.agents.create(model=MODEL, include_base_tools=False, tools=[CODE], tool_ids=[tool_id])
        code = json.dumps({"code": f"[{double}(n) for n in (1, 2, 3)]"})
        messages = client.agents.messages.create(agent.id, input=f"CALL {CODE} {code}").messages
    (returned,) = [each for each in messages if each.message_type == "tool_return_message"]
    assert returned.tool_return == "[2, 4, 6]"


@one_store
def test_a_tool_that_takes_too_long_ends_with_the_code_that_called_it(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_TIMEOUT": "4"})
    with Letta(base_url=server.url, api_key="unused", max_retries=0) as client:
        tool_id, sleep = own_tool(client, "import time; time.sleep(60)", "")
        agent = client.agents.create(model=MODEL, include_base_tools=False, tools=[CODE], tool_ids=[tool_id])
        code = json.dumps({"code": f"print('before')\n{sleep}()"})
        client.agents.messages.create(agent.id, input=f"CALL {CODE} {code}")
        path = f"{server.url}/v1/agents/{agent.id}/messages"
        (returned,) = [m for m in httpx.get(path).json() if m["message_type"] == "tool_return_message"]
    assert returned["status"] == "error"
    assert [(each["name"], each["status"]) for each in returned["inner_calls"]] == [(sleep, "error")]


@one_store
def test_who_runs_it_outside_of_a_turn_has_the_tools_too(coder: Coder) -> None:
    coder.make(tool_rules=[{"type": "requires_approval", "tool_name": "memory_insert"}])
    code = f"memory_insert({coder.block.label!r}, 'from outside')"
    ran = coder.http.post(f"/v1/agents/{coder.agent_id}/tools/{CODE}/run", json={"args": {"code": code}}).json()
    assert ran["status"] == "success", ran
    assert coder.value() == "from outside"


UNTIL_TOLD = """
def until_told(label: str) -> str:
    \"\"\"Wait until a block says so.

    Args:
        label: The block's.
    \"\"\"
    import os, urllib.request
    path = f"{os.environ['LETTA_BASE_URL']}/v1/agents/{os.environ['LETTA_AGENT_ID']}/core-memory/blocks/{label}"
    asked = urllib.request.Request(path, headers={"authorization": f"Bearer {os.environ['LETTA_API_KEY']}"})
    while b"go on" not in urllib.request.urlopen(asked).read():
        pass
"""


@one_store
def test_code_of_a_run_that_was_taken_for_dead_edits_nothing_more(start_server: StartServer, database_url: str) -> None:
    """Another run has the turn, as it does when a lease has run out; the code goes on here."""
    server = start_server()
    with (
        Letta(base_url=server.url, api_key="unused", max_retries=0) as client,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        block = client.blocks.create(label="notes", value="")
        tool_id = client.tools.create(source_code=UNTIL_TOLD).id
        tools = {"tools": [CODE, "memory_insert"], "tool_ids": [tool_id], "include_base_tools": False}
        agent = http.post("/v1/agents", json={"model": MODEL, "block_ids": [block.id], **tools}).json()["id"]
        code = "memory_insert('notes', 'a')\nuntil_told('notes')\nmemory_insert('notes', 'b')"
        said = {"input": f"CALL {CODE} {json.dumps({'code': code})}"}
        run = http.post(f"/v1/agents/{agent}/messages/async", json=said).raise_for_status().json()["id"]
        until(lambda: client.blocks.retrieve(block.id).value == "a")
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=60)) as connection:
            connection.execute("UPDATE conversations SET locked_by_run = 'run-of-another'")
            connection.commit()
        client.blocks.update(block.id, value="go on")
        until(lambda: http.get(f"/v1/runs/{run}").json()["status"] == "failed")
        assert client.blocks.retrieve(block.id).value == "go on"
