"""Tools of one's own at work: in turns, by request, and from source; what they are given, and what comes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import assert_error
from letta_client import Letta
from letta_client.types import AgentState

from support.clients import official_client, plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.scripted_model import ScriptedModel
from support.server import ServerFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")


def named(source: str) -> tuple[str, str]:
    """Return a source whose function `TOOL` has a name of its own, and that name."""
    name = f"tool_{uuid4().hex[:12]}"
    return source.replace("TOOL", name), name


class Maker:
    """Makes tools, gives them to agents, and has agents call them."""

    def __init__(self, client: Letta, http: httpx.Client) -> None:
        self.client = client
        self.http = http

    def agent(self, source: str, **fields: Any) -> tuple[AgentState, str]:
        """Return an agent that has nothing but a tool of this source, and the tool's name."""
        text, name = named(source)
        tool_fields = fields.pop("tool", {})
        tool = self.client.tools.create(source_code=text, **tool_fields)
        fields = {"model": MODEL, "include_base_tools": False, "tool_ids": [tool.id], **fields}
        return self.client.agents.create(**fields), name

    def turn(self, agent: AgentState, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Return the tool return of a turn in which the model calls the tool; the turn goes on behind it."""
        said = self.client.agents.messages.create(agent.id, input=f"CALL {name} {json.dumps(arguments or {})}")
        assert said.messages[-1].content == "done"  # type: ignore[union-attr]
        return next(message for message in said.messages if message.message_type == "tool_return_message")

    def run(self, agent: AgentState, name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what the tool came to that a request asked to be run."""
        answer = self.http.post(f"/v1/agents/{agent.id}/tools/{name}/run", json={"args": arguments or {}})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def source(self, source: str, args: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Return what a source came to that was run once."""
        answer = self.http.post("/v1/tools/run", json={"source_code": source, "args": args or {}, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@pytest.fixture
def maker(client: Letta, http: httpx.Client) -> Maker:
    return Maker(client, http)


RETURNS: Sequence[tuple[str, Any, str]] = [
    ("{'a': 1, 'b': [1, 2], 'c': None}", {"a": 1, "b": [1, 2], "c": None}, '{"a": 1, "b": [1, 2], "c": null}'),
    ("[1, 'two', {'three': 3}]", [1, "two", {"three": 3}], '[1, "two", {"three": 3}]'),
    ("None", None, "None"),
    ("True", True, "True"),
    ("42", 42, "42"),
    ("1.5", 1.5, "1.5"),
    ("'äöü — 文字'", "äöü — 文字", "äöü — 文字"),
    ("b'abc'", "b'abc'", "b'abc'"),
    ("(1, 2, {3})", [1, 2, "{3}"], '[1, 2, "{3}"]'),
    ("Model()", {"x": 1, "day": "2024-01-02"}, '{"x": 1, "day": "2024-01-02"}'),
    ("Data(3)", {"n": 3}, '{"n": 3}'),
    ("Color.RED", "red", "red"),
    ("datetime(2024, 1, 2, 3, 4, 5)", "2024-01-02 03:04:05", "2024-01-02 03:04:05"),
    ("Plain()", "a plain one", "a plain one"),
]


@one_store
def test_what_comes_back_by_the_kind_of_value(maker: Maker) -> None:
    source = f'''
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pydantic import BaseModel

class Model(BaseModel):
    x: int = 1
    day: date = date(2024, 1, 2)

@dataclass
class Data:
    n: int

class Color(Enum):
    RED = "red"

class Plain:
    def __str__(self):
        return "a plain one"

def TOOL(which: int):
    """Return one of many things."""
    return [{", ".join(f"lambda: {code}" for code, _, _ in RETURNS)}][which]()
'''
    agent, name = maker.agent(source)
    for which, (code, value, text) in enumerate(RETURNS):
        result = maker.run(agent, name, {"which": which})
        assert (result["status"], result["func_return"]) == ("success", value), code
        returned = maker.turn(agent, name, {"which": which})
        assert (returned.status, returned.tool_return) == ("success", text), code
        assert (returned.stdout, returned.stderr) == ([], [])


def test_what_is_printed_and_what_is_raised(maker: Maker) -> None:
    source = '''
import sys

def helper(word):
    raise RuntimeError(f"tool broke: {word}")

def TOOL(breaks: bool = False) -> str:
    """Print, and break."""
    print("line one")
    print("line two")
    print("err line", file=sys.stderr)
    if breaks:
        helper("badly")
    return "printed"
'''
    agent, name = maker.agent(source)
    good = maker.turn(agent, name)
    assert (good.tool_return, good.stdout, good.stderr) == ("printed", ["line one\nline two\n"], ["err line\n"])
    bad = maker.turn(agent, name, {"breaks": True})
    assert bad.status == "error"
    assert bad.tool_return.startswith(f"Error executing function {name}: RuntimeError: tool broke: badly\n")
    assert "in helper" in bad.tool_return
    assert bad.stdout == ["line one\nline two\n"]
    assert bad.stderr[0] == "err line\n"
    assert bad.stderr[1].startswith("Traceback")
    assert "folkmoot" not in bad.stderr[1], "no paths of the server"
    asked = maker.run(agent, name, {"breaks": True})
    assert (asked["status"], asked["func_return"], asked["stdout"]) == ("error", None, bad.stdout)
    assert asked["stderr"] == bad.stderr


@one_store
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import os; os._exit(0)", "ended before the function returned"),
        ("import os; os.abort()", "the program ended by SIG"),
        ("return 'x' * 10**10", "memory"),
        ("return f(1)", "NameError"),
        ("x = []; x.append(x); return x", "nested"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("print('x' * 10**7)", "printed more than"),
    ],
)
def test_a_turn_goes_on_whatever_the_tool_does(body: str, says: str, maker: Maker) -> None:
    agent, name = maker.agent(f'def TOOL():\n    """Do something."""\n    {body}\n')
    returned = maker.turn(agent, name)
    assert returned.status == "error"
    assert returned.tool_return.startswith(f"Error executing function {name}: ")
    assert says in returned.tool_return
    assert maker.run(agent, name)["status"] == "error"


@one_store
def test_a_tool_that_takes_too_long_is_ended_and_what_it_printed_is_kept(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_TIMEOUT": "2"})
    with plain_client(server.url) as http, official_client(server.url) as client:
        maker = Maker(client, http)
        source = 'def TOOL():\n    """Sleep."""\n    print("before", flush=True)\n    while True: pass\n'
        agent, name = maker.agent(source)
        returned = maker.turn(agent, name)
        assert returned.status == "error"
        assert "TimeoutError: it took more than 1 seconds and was ended" in returned.tool_return
        assert returned.stdout == ["before\n"]
        text, name = named(source)
        once = maker.source(text)
        assert (once["status"], once["stdout"]) == ("error", ["before\n"])


@one_store
def test_a_tool_can_have_less_than_the_server_allows_and_never_more(maker: Maker) -> None:
    source = """
import resource

def TOOL(wait: bool) -> list:
    \"\"\"Tell what it may use.\"\"\"
    while wait:
        pass
    return [resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_NOFILE", "RLIMIT_FSIZE")]
"""
    limits = {"seconds": 1, "open_files": 20, "file_size": 1 << 50}
    agent, name = maker.agent(source, tool={"extra_body": {"metadata_": {"limits": limits}}})
    assert maker.run(agent, name, {"wait": False})["func_return"] == [20, 64 * 1024 * 1024]
    returned = maker.turn(agent, name, {"wait": True})
    assert returned.tool_return.endswith("TimeoutError: it took more than 1 seconds and was ended")


@one_store
def test_what_of_the_network_was_refused_is_told(maker: Maker, client: Letta) -> None:
    source = """
import socket

def TOOL(fail: bool) -> str:
    \"\"\"Look a name up.\"\"\"
    try:
        return socket.gethostbyname("other.test")
    except OSError:
        if fail:
            raise
        return "not there"
"""
    agent, name = maker.agent(source, tool={"extra_body": {"metadata_": {"allowed_hosts": ["one.test"]}}})
    refused = "network: other.test is not among the hosts that it may reach"
    quiet = maker.turn(agent, name, {"fail": False})
    assert (quiet.tool_return, quiet.stderr) == ("not there", [refused])
    loud = maker.turn(agent, name, {"fail": True})
    assert loud.tool_return.endswith(refused)
    assert refused in loud.stderr


@one_store
def test_arguments_become_what_the_hints_ask_for(maker: Maker) -> None:
    source = '''
import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pydantic import BaseModel, Field

class Color(str, Enum):
    RED = "red"

class Step(BaseModel):
    name: str = Field(..., description="n")
    seconds: int = 1

@dataclass
class Point:
    x: float
    y: float = 0.0

async def TOOL(n: int, xs: list, flag: bool, steps: List[Step], where: Point, color: Color, when: datetime,
               maybe: Optional[int] = None, either: int | str = 0):
    """Tell the types."""
    await asyncio.sleep(0)
    return [type(each).__name__ for each in (n, xs, flag, steps[0], where, where.x, color, when, maybe, either)]
'''
    agent, name = maker.agent(source)
    arguments = {
        "n": "5",
        "xs": "[1,2]",
        "flag": "true",
        "steps": [{"name": "a"}],
        "where": {"x": 1},
        "color": "red",
        "when": "2024-01-02T03:04:05Z",
        "maybe": None,
        "either": "x",
    }
    types = ["int", "list", "bool", "Step", "Point", "float", "Color", "datetime", "NoneType", "str"]
    assert maker.run(agent, name, arguments)["func_return"] == types
    assert json.loads(maker.turn(agent, name, arguments).tool_return) == types
    for broken, says in (({"n": "five"}, "n must be"), ({"when": "soon"}, "argument when"), ({"zzz": 1}, "zzz")):
        failed = maker.turn(agent, name, arguments | broken)
        assert failed.status == "error"
        assert says in failed.tool_return
    without = maker.turn(agent, name, {})
    assert (without.status, "n is missing" in without.tool_return) == ("error", True)


@one_store
def test_arguments_that_a_model_describes_have_attributes(maker: Maker) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"item": {"type": "string"}, "subs": {"type": "array", "items": {"$ref": "#/$defs/Sub"}}},
        "required": ["item", "subs"],
        "$defs": {"Sub": {"type": "object", "properties": {"note": {"type": "string"}}, "required": ["note"]}},
    }
    source = 'def TOOL(item, subs: "list[Sub]"):\n    """Order."""\n    return [item, subs[0].note, str(subs[0])]\n'
    agent, name = maker.agent(source, tool={"args_json_schema": schema})
    answer = maker.run(agent, name, {"item": "tea", "subs": [{"note": "hot"}]})
    assert answer["func_return"] == ["tea", "hot", "note='hot'"]


def test_variables_of_the_agent_and_identifiers_are_in_the_environment(maker: Maker) -> None:
    source = """
import os

def TOOL():
    '''Tell the environment.'''
    kinds = ("LETTA_", "SECRET", "OPENAI", "FOLKMOOT")
    return {name: value for name, value in os.environ.items() if name.startswith(kinds)}
"""
    agent, name = maker.agent(source, secrets={"SECRET_ONE": "changed"})
    seen = maker.run(agent, name)["func_return"]
    assert seen["SECRET_ONE"] == "changed"
    assert seen["LETTA_AGENT_ID"] == agent.id
    assert seen["LETTA_TOOL_ID"] == agent.tools[0].id
    assert not any(each.startswith(("OPENAI", "FOLK")) for each in seen), "nothing of the server's"
    assert json.loads(maker.turn(agent, name).tool_return).keys() == seen.keys()


def test_the_agent_is_shown_where_it_is_asked_for_and_its_memory_is_written(maker: Maker, http: httpx.Client) -> None:
    source = """
def TOOL(agent_state: "AgentState", agent_id: str = "", text: str = ""):
    '''Look at the agent.'''
    if text:
        agent_state.memory.update_block_value("human", text)
    labels = [block.label for block in agent_state.memory.blocks]
    return [type(agent_state).__name__, agent_state.name, agent_state.id, agent_id, labels, len(agent_state.tools)]
"""
    blocks = [{"label": "human", "value": "nothing yet"}, {"label": "rules", "value": "stay", "read_only": True}]
    agent, name = maker.agent(source, name="tester", memory_blocks=blocks)
    told = ["AgentState", "tester", agent.id, agent.id, ["human", "rules"], 0]
    assert maker.run(agent, name)["func_return"] == told
    human = next(block for block in agent.memory.blocks if block.label == "human")
    assert maker.turn(agent, name, {"text": "edited by a tool"}).status == "success"
    history = http.get(f"/v1/blocks/{human.id}/history").json()
    assert len(history) == 2, "a call that changes nothing writes nothing"
    assert http.get(f"/v1/blocks/{human.id}").json()["value"] == "edited by a tool"
    author = history[0]["author"]
    assert (author["type"], author["id"], author["run_id"] is not None) == ("agent", agent.id, True)
    assert maker.run(agent, name, {"text": "by request"})["status"] == "success"
    author = http.get(f"/v1/blocks/{human.id}/history").json()[0]["author"]
    assert (author["type"], author["id"], author["run_id"]) == ("agent", agent.id, None)


@one_store
def test_a_call_without_agent_id_is_given_the_agents_own(maker: Maker, scripted_model: ScriptedModel) -> None:
    source = """
def TOOL(agent_id: str, note: str):
    '''Tell who asks.

    Args:
        agent_id: Whose it is.
        note: What is said beside it.
    '''
    return f"{note}: {agent_id}"
"""
    agent, name = maker.agent(source)
    shown = (agent.tools[0].json_schema or {})["parameters"]["required"]
    assert shown == ["agent_id", "note"], "as the source has it"
    assert maker.run(agent, name, {"note": "by request"})["func_return"] == f"by request: {agent.id}"
    assert maker.turn(agent, name, {"note": "by turn"}).tool_return == f"by turn: {agent.id}"
    told = scripted_model.requests[-1]["tools"][0]["function"]["parameters"]
    assert (sorted(told["properties"]), told["required"]) == (["agent_id", "note"], ["note"])
    assert maker.turn(agent, name, {"agent_id": "agent-x", "note": "of"}).tool_return == "of: agent-x"
    assert "note is missing" in maker.turn(agent, name).tool_return


@one_store
def test_a_tool_cannot_write_what_its_agent_cannot(maker: Maker, http: httpx.Client) -> None:
    source = """
def TOOL(agent_state):
    '''Overwrite two blocks.'''
    agent_state.memory.get_block("notes").value = "overwritten"
    agent_state.memory.get_block("rules").value = "overwritten"
"""
    blocks = [{"label": "notes", "value": "mine"}, {"label": "rules", "value": "stay", "read_only": True}]
    schema = {"name": "x", "description": "x", "parameters": {"type": "object", "properties": {}}}
    text, name = named(source)
    tool = maker.client.tools.create(source_code=text, json_schema={**schema, "name": name})
    agent = maker.client.agents.create(model=MODEL, tool_ids=[tool.id], memory_blocks=blocks)
    failed = maker.turn(agent, name)
    assert (failed.status, "read-only" in failed.tool_return) == ("error", True)
    values = {block.label: block.value for block in maker.client.agents.retrieve(agent.id).memory.blocks}
    assert values == {"notes": "mine", "rules": "stay"}, "all of it or nothing"


@one_store
def test_long_returns_are_cut_with_a_mark_for_the_model_only(maker: Maker, scripted_model: ScriptedModel) -> None:
    agent, name = maker.agent(
        'def TOOL(n: int):\n    """Return much."""\n    return "x" * n\n', tool={"return_char_limit": 200}
    )
    returned = maker.turn(agent, name, {"n": 3000})
    assert returned.tool_return.startswith("x" * 200 + "\n… (2,800 more characters")
    assert maker.turn(agent, name, {"n": 3_000_000}).tool_return.endswith("(2,999,800 more characters were cut off)")
    assert maker.run(agent, name, {"n": 3000})["func_return"] == "x" * 3000


def test_the_named_function_counts_and_may_use_the_others(maker: Maker) -> None:
    schema = {
        "name": "",
        "description": "Add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    }
    source, name = named("BASE = 40\ndef TOOL(a):\n    return later(a)\ndef later(a):\n    return BASE + a\n")
    tool = maker.client.tools.create(source_code=source, json_schema={**schema, "name": name})
    agent = maker.client.agents.create(model=MODEL, tool_ids=[tool.id], include_base_tools=False)
    assert maker.run(agent, name, {"a": 2})["func_return"] == 42


@one_store
def test_a_source_of_100_kb_runs(maker: Maker) -> None:
    rest = "\n".join(f"def helper_{number}(x):\n    return x + {number}\n" for number in range(2500))
    assert len(rest) > 100_000
    agent, name = maker.agent(f'{rest}\ndef TOOL():\n    """Count."""\n    return helper_2499(1)\n')
    assert maker.run(agent, name)["func_return"] == 2500


@one_store
def test_calls_of_one_reply_run_at_once_where_their_maker_allows_it(maker: Maker) -> None:
    source = """
import json, os, time, urllib.request

def ask(rest: str = "", fields: dict | None = None) -> dict:
    path = f"{os.environ['LETTA_BASE_URL']}/v1/agents/{os.environ['LETTA_AGENT_ID']}/core-memory/blocks/signed{rest}"
    headers = {"authorization": f"Bearer {os.environ['LETTA_API_KEY']}", "content-type": "application/json"}
    asked = urllib.request.Request(path, fields and json.dumps(fields).encode(), headers)
    return json.load(urllib.request.urlopen(asked))

def TOOL(together: bool) -> list:
    \"\"\"Tell when it ran.

    Args:
        together: Whether to wait for the other call.
    \"\"\"
    began = time.monotonic()
    ask("/edits", {"kind": "insert", "new_string": "here"})
    while together and ask()["value"].count("here") < 2:
        pass
    return [began, time.monotonic()]
"""
    for allowed in (False, True):
        blocks = [{"label": "signed", "value": ""}]
        agent, name = maker.agent(source, tool={"enable_parallel_execution": allowed}, memory_blocks=blocks)
        calls = json.dumps([[name, {"together": allowed}]] * 2)
        said = maker.client.agents.messages.create(agent.id, input=f"CALLS {calls}").messages
        one, other = (json.loads(m.tool_return) for m in said if m.message_type == "tool_return_message")
        assert (one[0] < other[1] and other[0] < one[1]) is allowed


def test_approvals_and_streams_hold_for_own_tools(maker: Maker) -> None:
    source = 'def TOOL(n: int):\n    """Double."""\n    return n * 2\n'
    agent, name = maker.agent(source, tool={"default_requires_approval": True})
    asked = maker.client.agents.messages.create(agent.id, input=f'CALL {name} {{"n": 4}}')
    request = asked.messages[-1]
    assert request.message_type == "approval_request_message"
    approval: Any = {
        "type": "approval",
        "approvals": [{"type": "approval", "approve": True, "tool_call_id": request.tool_call.tool_call_id}],
    }
    answered = maker.client.agents.messages.create(agent.id, messages=[approval])
    returned = [message for message in answered.messages if message.message_type == "tool_return_message"]
    assert [message.tool_return for message in returned] == ["8"]
    maker.client.agents.update(agent.id, tool_rules=[])
    asked_again: Any = {"input": f'CALL {name} {{"n": 5}}', "streaming": True, "stream_tokens": True}
    events = list(maker.client.agents.messages.create(agent.id, **asked_again))
    assert [each.tool_return for each in events if each.message_type == "tool_return_message"] == ["10"]


@one_store
def test_source_is_run_once_without_being_stored(maker: Maker) -> None:
    before = maker.http.get("/v1/tools/count").json()
    source = 'def greet(name: str, times: int = 1) -> str:\n    return " ".join(["Hello " + name] * times)\n'
    said = maker.source(source, {"name": "Ada", "times": "2"})
    assert (said["name"], said["message_type"], said["status"]) == ("greet", "tool_return_message", "success")
    assert (said["tool_return"], said["tool_returns"][0]["tool_return"]) == ("Hello Ada Hello Ada",) * 2
    assert (said["stdout"], said["stderr"]) == ([], [])
    assert maker.source(source, {"name": "Ada"}, name="greet")["tool_return"] == "Hello Ada"
    missing = maker.source(source, {})
    assert missing["tool_return"].startswith("Error executing function greet: TypeError: greet() missing 1 required")
    variable = 'def f():\n    import os\n    print("out")\n    return os.environ["MY_KEY"]\n'
    said = maker.source(variable, env_vars={"MY_KEY": "secret-7"})
    assert (said["tool_return"], said["stdout"]) == ("secret-7", ["out\n"])
    assert maker.http.get("/v1/tools/count").json() == before
    run = "/v1/tools/run"
    assert_error(maker.http.post(run, json={"source_code": "def x(:", "args": {}}), 400, "line 1")
    assert_error(maker.http.post(run, json={"source_code": source}), 422, "args")
    assert_error(maker.http.post(run, json={"source_code": "x", "source_type": "ruby", "args": {}}), 400, "ruby")
    bad = {"source_code": source, "args": {}, "env_vars": {"A=B": "x"}}
    assert_error(maker.http.post(run, json=bad), 422, "env_vars")


def test_built_in_tools_can_be_run_by_request(maker: Maker, new_agent: NewAgent) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": "x"}])
    done = maker.run(agent, "memory_insert", {"label": "human", "new_string": "by run"})
    assert (done["status"], done["stdout"]) == ("success", None)
    assert maker.client.agents.blocks.retrieve("human", agent_id=agent.id).value == "x\nby run"
    refused = maker.run(agent, "memory_insert", {"label": "nothing", "new_string": "x"})
    assert refused["status"] == "error"
    assert "nothing" in refused["stderr"][0]
    assert_error(maker.http.post(f"/v1/agents/{agent.id}/tools/web_search/run", json={}), 404, "not attached")


@one_store
@pytest.mark.parametrize("body", [None, {}, {"args": {}}])
def test_a_run_needs_no_body(body: Any, maker: Maker) -> None:
    agent, name = maker.agent('def TOOL():\n    """Answer."""\n    return 42\n')
    answer = maker.http.post(f"/v1/agents/{agent.id}/tools/{name}/run", **({} if body is None else {"json": body}))
    assert answer.json()["func_return"] == 42


EXPLOIT = """
import os, subprocess

def pwn(mark: str, secret: str):
    seen = {"variables": sorted(os.environ), "secret": "", "written": False, "id": ""}
    try:
        seen["secret"] = open(secret).read()
    except OSError:
        pass
    try:
        open(mark, "w").close()
        seen["written"] = True
    except OSError:
        pass
    try:
        seen["parent"] = open(f"/proc/{os.getppid()}/environ", "rb").read().decode(errors="replace")
    except OSError:
        seen["parent"] = ""
    return seen
"""
"""What was done to servers that run such code as themselves (CVE-2025-51482)."""


@one_store
@pytest.mark.parametrize("mode", ["strict", "trusted"])
def test_the_published_exploit_gets_nothing(mode: str, start_server: StartServer, tmp_path: Any) -> None:
    secret, mark = tmp_path / "secret", tmp_path / "it-was-here"
    secret.write_text("the secret")
    key = "the-admins-key"
    server = start_server(env={"FOLKMOOT_API_KEY": key, "FOLKMOOT_TOOL_SANDBOX": mode, "SERVERS_OWN": "of the server"})
    body = {"source_code": EXPLOIT, "args": {"mark": str(mark), "secret": str(secret)}}
    with plain_client(server.url) as http:
        assert_error(http.post("/v1/tools/run", json=body), 401)
        wrong = {"authorization": "Bearer another"}
        assert_error(http.post("/v1/tools/run", json=body, headers=wrong), 401)
        assert not mark.exists()
        answer = http.post("/v1/tools/run", json=body, headers={"authorization": f"Bearer {key}"}).json()
    assert answer["status"] == "success", answer
    seen = json.loads(answer["tool_return"])
    assert not any(name.startswith(("FOLKMOOT", "SERVERS", "OPENAI")) for name in seen["variables"])
    if mode == "trusted":  # the probe is known to work
        assert (seen["secret"], seen["written"], mark.exists()) == ("the secret", True, True)
    else:
        assert (seen["secret"], seen["written"], seen["parent"], mark.exists()) == ("", False, "", False)


@one_store
def test_code_without_walls_is_refused_among_several_organisations(start_server: StartServer) -> None:
    headers = {"authorization": "Bearer the-admins-key"}
    trusted = {"FOLKMOOT_API_KEY": "the-admins-key", "FOLKMOOT_TOOL_SANDBOX": "trusted"}
    server = start_server(env=trusted)
    with plain_client(server.url, headers=headers) as http:
        assert_error(http.post("/v1/organizations", json={"name": "others"}), 409, "FOLKMOOT_TOOL_SANDBOX=trusted")
    server.stop()
    walled = start_server(env={"FOLKMOOT_API_KEY": "the-admins-key"})
    with plain_client(walled.url, headers=headers) as http:
        http.post("/v1/organizations", json={"name": "others"}).raise_for_status()
    walled.stop()
    with pytest.raises(ServerFailed, match="there are 2 organisations here, and code without walls reads"):
        server.start()


@one_store
def test_packages_are_asked_for_by_name_and_a_failure_is_told(start_server: StartServer) -> None:
    beside = {"FOLKMOOT_DATA": "beside"}  # of the folder that the server is started in
    server = start_server(env={"UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "UV_NO_CACHE": "1", **beside})
    with plain_client(server.url) as http, official_client(server.url) as client:
        maker = Maker(client, http)
        needs: dict[str, Any] = {"pip_requirements": [{"name": "no-such-package-anywhere", "version": "1.0"}]}
        agent, name = maker.agent('def TOOL():\n    """Need."""\n    return 1\n', tool=needs)
        returned = maker.turn(agent, name)
        assert returned.status == "error"
        assert "the environment could not be made: " in returned.tool_return
        shown = http.get(f"/v1/tools/{agent.tools[0].id}").json()["environment"]
        assert (shown["state"], "no-such-package-anywhere" in shown["reason"]) == ("failed", True), shown
        for field, package in (
            ("pip_requirements", "../here"),
            ("pip_requirements", "--index-url"),
            ("npm_requirements", "a b"),
        ):
            body = {"source_code": "def f():\n    'Do.'\n", field: [{"name": package}]}
            assert_error(http.post("/v1/tools", json=body), 422, field, package)
        plain = maker.source("def f():\n    return 1\n", pip_requirements=[{"name": "no-such-package-anywhere"}])
        assert "environment" in plain["tool_return"]
