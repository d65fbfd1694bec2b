"""Tool calls that wait for somebody's decision."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from letta_client import BadRequestError, ConflictError, Letta

from runs.talking import (
    SEARCH,
    approval,
    call,
    calling,
    decide,
    followed,
    kinds,
    ok,
    post,
    read,
    say,
    whole,
)
from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer, each_provider
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

RULE: dict[str, Any] = {"type": "requires_approval", "tool_name": "conversation_search"}
DENIED = "denied"


def waiting(turn: dict[str, Any]) -> list[str]:
    """Return the ids of the calls that a turn ended with."""
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    request = turn["messages"][-1]
    assert request["message_type"] == "approval_request_message"
    assert request["tool_call"] == request["tool_calls"][0]
    return [each["tool_call_id"] for each in request["tool_calls"]]


@each_provider
def test_approve_through_the_official_client(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, http: httpx.Client
) -> None:
    agent = new_agent(tool_rules=[RULE])
    response = client.agents.messages.create(agent.id, input=f"{SEARCH}\nTHEN ECHO found")
    assert response.stop_reason.stop_reason == "requires_approval"
    (request,) = response.messages
    assert request.message_type == "approval_request_message"
    call_id = request.tool_call.tool_call_id  # type: ignore[union-attr]
    response = client.agents.messages.create(
        agent.id,
        messages=[
            {"type": "approval", "approvals": [{"type": "approval", "approve": True, "tool_call_id": str(call_id)}]}
        ],
    )
    returned, said = response.messages
    assert (returned.message_type, returned.status, returned.tool_call_id) == (  # type: ignore[union-attr]
        "tool_return_message",
        "success",
        call_id,
    )
    assert said.content == "found"  # type: ignore[union-attr]
    assert response.stop_reason.stop_reason == "end_turn"
    assert kinds(whole(http, agent.id))[1:] == [
        *("user_message", "approval_request_message", "approval_response_message"),
        *("tool_return_message", "assistant_message"),
    ]
    assert len(scripted_model.requests) == 2


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_an_agent_shows_what_it_waits_for_when_that_is_asked_for(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent(tool_rules=[RULE])

    def shown() -> Any:
        return client.agents.retrieve(agent.id, include=["agent.pending_approval"]).pending_approval

    assert shown() is None
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    (request,) = [m for m in client.agents.messages.list(agent.id) if m.message_type == "approval_request_message"]
    assert shown().model_dump() == request.model_dump()
    assert client.agents.retrieve(agent.id).pending_approval is None
    ok(decide(http, agent.id, approval(call_id)))
    assert shown() is None


@each_provider
def test_the_tool_runs_only_after_approval(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="kept")
    agent = new_agent(block_ids=[block.id], tool_rules=[{"type": "requires_approval", "tool_name": "memory_insert"}])
    arguments = json.dumps({"label": block.label, "new_string": "new"})
    (call_id,) = waiting(say(http, agent.id, f"CALL memory_insert {arguments}"))
    assert ok(http.get(f"/v1/blocks/{block.id}"))["value"] == "kept"
    ok(decide(http, agent.id, approval(call_id)))
    assert ok(http.get(f"/v1/blocks/{block.id}"))["value"] == "kept\nnew"


@each_provider
@pytest.mark.parametrize("reason", ["not today", None])
def test_deny_with_and_without_a_reason(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, reason: str | None
) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, f"{SEARCH}\nTHEN ECHO a pity"))
    more = {} if reason is None else {"reason": reason}
    turn = ok(decide(http, agent.id, approval(call_id, approve=False, **more)))
    returned = turn["messages"][0]
    assert returned["status"] == "error"
    assert DENIED in returned["tool_return"]
    assert reason is None or reason in returned["tool_return"]
    told = next(m for m in scripted_model.conversations[-1] if m["role"] == "tool")
    assert reason is None or reason in told["content"]
    assert turn["messages"][-1]["content"] == "a pity"


@each_provider
def test_several_calls_are_decided_each_for_itself(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    calls = [["conversation_search", {"query": str(number)}] for number in range(3)]
    first, second, third = waiting(say(http, agent.id, f"CALLS {json.dumps(calls)}"))
    turn = ok(decide(http, agent.id, approval(third), approval(first), approval(second, approve=False, reason="no")))
    returns = turn["messages"][:3]
    assert [(each["tool_call_id"], each["status"]) for each in returns] == [
        (first, "success"),
        (second, "error"),
        (third, "success"),
    ]
    whole(http, agent.id)


@each_provider
def test_a_reply_of_both_kinds_runs_what_need_not_wait(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], tool_rules=[RULE])
    calls = [
        ["conversation_search", {}],
        ["memory_insert", {"label": block.label, "new_string": "at once"}],
        ["conversation_search", {"query": "x"}],
    ]
    turn = say(http, agent.id, f"CALLS {json.dumps(calls)}\nTHEN ECHO found")
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    request = next(m for m in turn["messages"] if m["message_type"] == "approval_request_message")
    assert ok(http.get(f"/v1/blocks/{block.id}"))["value"] == "at once"
    ids = [each["tool_call_id"] for each in request["tool_calls"]]
    assert len(ids) == 2
    turn = ok(decide(http, agent.id, *map(approval, ids)))
    assert turn["messages"][-1]["content"] == "found"
    whole(http, agent.id)


@each_provider
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda ids: [approval(ids[0])], id="one of two"),
        pytest.param(lambda ids: [*map(approval, ids), approval("call_unknown")], id="one too many"),
        pytest.param(lambda ids: [approval("call_unknown")], id="unknown"),
        pytest.param(lambda ids: [approval(ids[0]), approval(ids[0])], id="one twice, the other never"),
        pytest.param(lambda ids: [approval(""), approval(ids[1])], id="empty"),
    ],
)
def test_decisions_that_do_not_fit_are_refused_and_change_nothing(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, wrong: Any
) -> None:
    agent = new_agent(tool_rules=[RULE])
    calls = [["conversation_search", {"query": str(number)}] for number in range(2)]
    ids = waiting(say(http, agent.id, f"CALLS {json.dumps(calls)}"))
    before = whole(http, agent.id)
    answer = decide(http, agent.id, *wrong(ids))
    assert answer.status_code == 400, answer.text
    assert whole(http, agent.id) == before
    assert len(scripted_model.requests) == 1
    ok(decide(http, agent.id, *map(approval, ids)))
    whole(http, agent.id)


@pytest.mark.parametrize("path", ["stream", "async"])
def test_decisions_that_do_not_fit_are_refused_before_a_stream(
    http: httpx.Client, new_agent: NewAgent, path: str
) -> None:
    agent = new_agent(tool_rules=[RULE])
    waiting(say(http, agent.id, SEARCH))
    body = {"messages": [{"type": "approval", "approvals": [approval("call_unknown")]}]}
    assert http.post(f"/v1/agents/{agent.id}/messages/{path}", json=body).status_code == 400


def test_a_decision_that_nobody_asked_for_is_refused(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with pytest.raises(BadRequestError):
        client.agents.messages.create(
            agent.id,
            messages=[
                {"type": "approval", "approvals": [{"type": "approval", "approve": True, "tool_call_id": "call_1"}]}
            ],
        )
    assert scripted_model.requests == []


@each_provider
def test_a_decision_counts_once(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    ok(decide(http, agent.id, approval(call_id)))
    before = whole(http, agent.id)
    assert decide(http, agent.id, approval(call_id)).status_code == 400
    assert whole(http, agent.id) == before


@each_provider
@pytest.mark.parametrize("approve", [True, False])
def test_the_older_form_decides_about_every_call(http: httpx.Client, new_agent: NewAgent, approve: bool) -> None:
    agent = new_agent(tool_rules=[RULE])
    calls = [["conversation_search", {"query": str(number)}] for number in range(2)]
    turn = say(http, agent.id, f"CALLS {json.dumps(calls)}")
    message = {
        "type": "approval",
        "approve": approve,
        "approval_request_id": turn["messages"][-1]["id"],
        "reason": "the older form",
    }
    turn = ok(http.post(f"/v1/agents/{agent.id}/messages", json={"messages": [message]}))
    statuses = [m["status"] for m in turn["messages"] if m["message_type"] == "tool_return_message"]
    assert statuses == ["success" if approve else "error"] * 2
    whole(http, agent.id)


def test_the_older_form_with_another_requests_id_is_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    waiting(say(http, agent.id, SEARCH))
    message = {
        "type": "approval",
        "approve": True,
        "approval_request_id": "message-123e4567-e89b-42d3-8456-426614174999",
    }
    answer = http.post(f"/v1/agents/{agent.id}/messages", json={"messages": [message]})
    assert answer.status_code == 400


@each_provider
def test_a_message_meanwhile_is_refused_as_recorded(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_rules=[RULE])
    turn = say(http, agent.id, SEARCH)
    before = whole(http, agent.id)
    for path in ("", "/stream", "/async"):
        answer = http.post(f"/v1/agents/{agent.id}/messages{path}", json={"input": "hello?"})
        assert answer.status_code == 409
        detail = answer.json()["detail"]
        assert (detail["code"], detail["pending_request_id"]) == ("PENDING_APPROVAL", turn["messages"][-1]["id"])
        assert set(detail) == {"code", "message", "pending_request_id"}
    with pytest.raises(ConflictError):
        client.agents.messages.create(agent.id, input="hello?")
    assert whole(http, agent.id) == before
    assert len(scripted_model.requests) == 1


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_the_request_and_the_answer_are_streamed(client: Letta, new_agent: NewAgent, tokens: bool) -> None:
    agent = new_agent(tool_rules=[RULE])
    script = 'CALL conversation_search {"query": "a longer query than one piece"}\nTHEN ECHO found it'
    with client.agents.messages.stream(agent.id, input=script, stream_tokens=tokens) as stream:
        chunks: list[Any] = list(stream)
    assert [c.message_type for c in chunks[-2:]] == ["stop_reason", "usage_statistics"]
    assert chunks[-2].stop_reason == "requires_approval"
    pieces = [c for c in chunks if c.message_type == "approval_request_message"]
    assert (len(pieces) > 1) == tokens
    stored: Any = list(client.agents.messages.list(agent.id, order="asc"))[-1]
    assert {piece.id for piece in pieces} == {stored.id}
    assert "".join(p.tool_call.arguments or "" for p in pieces) == stored.tool_call.arguments
    with client.agents.messages.stream(
        agent.id,
        messages=[
            {
                "type": "approval",
                "approvals": [{"type": "approval", "approve": True, "tool_call_id": pieces[0].tool_call.tool_call_id}],
            }
        ],
        stream_tokens=tokens,
    ) as stream:
        chunks = list(stream)
    assert list(dict.fromkeys(c.message_type for c in chunks)) == [
        *("ping", "tool_return_message", "assistant_message", "stop_reason", "usage_statistics"),
    ]
    assert "".join(c.content for c in chunks if c.message_type == "assistant_message") == "found it"


@each_provider
def test_what_waits_survives_a_restart(start_server: StartServer, scripted_model: ScriptedModel, model: str) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        agent = ok(http.post("/v1/agents", json={"model": model, "tool_rules": [RULE]}))["id"]
        (call_id,) = waiting(say(http, agent, f"{SEARCH}\nTHEN ECHO found"))
        server.restart()
        assert post(http, agent, "hello?").status_code == 409
        turn = ok(decide(http, agent, approval(call_id)))
        assert turn["messages"][-1]["content"] == "found"
        whole(http, agent)
    assert len(scripted_model.requests) == 2


@each_provider
def test_a_failed_turn_of_decisions_leaves_the_tools_return(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    scripted_model.fail_next(400)
    assert decide(http, agent.id, approval(call_id)).status_code == 502
    assert kinds(whole(http, agent.id))[-2:] == ["approval_response_message", "tool_return_message"]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


def test_decisions_in_the_background(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, f"{SEARCH}\nTHEN ECHO found"))
    body = {"messages": [{"type": "approval", "approvals": [approval(call_id)]}]}
    run = ok(http.post(f"/v1/agents/{agent.id}/messages/async", json=body))
    assert kinds(read(followed(http, run["id"])))[1:3] == ["tool_return_message", "assistant_message"]


@each_provider
def test_a_message_can_come_with_the_decisions(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    body = {
        "messages": [
            {"type": "approval", "approvals": [approval(call_id, approve=False)]},
            {"role": "user", "content": "ECHO do this instead"},
        ]
    }
    turn = ok(http.post(f"/v1/agents/{agent.id}/messages", json=body))
    assert turn["messages"][-1]["content"] == "do this instead"
    whole(http, agent.id)


def test_two_decisions_at_once_run_the_tool_once(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], tool_rules=[{"type": "requires_approval", "tool_name": "memory_insert"}])
    arguments = json.dumps({"label": block.label, "new_string": "once"})
    (call_id,) = waiting(say(http, agent.id, f"CALL memory_insert {arguments}"))
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: decide(http, agent.id, approval(call_id)).status_code, range(5)))
    assert sorted(answers) == [200, 400, 400, 400, 400]
    assert ok(http.get(f"/v1/blocks/{block.id}"))["value"] == "once"


def test_a_tool_is_put_under_approval_and_out_of_it(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    client.agents.tools.update_approval("conversation_search", agent_id=agent.id, body_requires_approval=True)
    rules = [rule.type for rule in client.agents.retrieve(agent.id).tool_rules or []]
    assert rules.count("requires_approval") == 1
    client.agents.tools.update_approval("conversation_search", agent_id=agent.id, body_requires_approval=True)
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    client.agents.tools.update_approval("conversation_search", agent_id=agent.id, body_requires_approval=False)
    assert post(http, agent.id, "hello?").status_code == 409, "what waits goes on waiting"
    ok(decide(http, agent.id, approval(call_id)))
    assert say(http, agent.id, SEARCH)["stop_reason"]["stop_reason"] == "end_turn"


def test_the_typescript_clients_body_is_understood(http: httpx.Client, new_agent: NewAgent) -> None:
    path = f"/v1/agents/{new_agent().id}/tools/approval/conversation_search"
    assert http.patch(path, json={"body_requires_approval": True}).status_code == 200


def test_approval_of_a_tool_that_the_agent_does_not_have_is_a_404(http: httpx.Client, new_agent: NewAgent) -> None:
    answer = http.patch(f"/v1/agents/{new_agent().id}/tools/approval/nonsense", json={"requires_approval": True})
    assert answer.status_code == 404


@each_provider
def test_a_tool_that_was_detached_meanwhile_fails_readably(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    tool = next(tool for tool in agent.tools if tool.name == "conversation_search")
    client.agents.tools.detach(str(tool.id), agent_id=agent.id)
    turn = ok(decide(http, agent.id, approval(call_id)))
    assert turn["messages"][0]["status"] == "error"
    whole(http, agent.id)


@each_provider
def test_a_call_under_approval_with_broken_arguments_fails_when_it_is_approved(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_rules=[RULE])
    scripted_model.reply_next(calling(call("conversation_search", '{"query": broken')))
    (call_id,) = waiting(say(http, agent.id, "hello"))
    turn = ok(decide(http, agent.id, approval(call_id)))
    assert turn["messages"][0]["status"] == "error"
    whole(http, agent.id)


DEEP = "[" * 50_000
ODD_CALLS = {
    "nested too deeply": ("memory_insert", f'{{"label": "x", "new_string": {DEEP}'),
    "and no JSON either": ("memory_insert", f'{{"label": NaN, "new_string": {DEEP}'),
    "a line beyond all numbers": ("memory_insert", '{"label": "LABEL", "new_string": "n", "insert_line": 1e999}'),
    "half an emoji": ("memory_replace", r'{"label": "LABEL", "old_string": "\ud83d", "new_string": "\ud83d"}'),
    "a number for a text": ("memory", '{"command": "str_replace", "path": "/memories/LABEL", "old_string": 5}'),
    "a list for a text": ("memory", '{"command": "insert", "path": "/memories/LABEL", "insert_text": ["n"]}'),
}


@pytest.mark.parametrize(("tool", "arguments"), ODD_CALLS.values(), ids=ODD_CALLS)
def test_whatever_a_call_that_waits_says_it_is_shown_decided_and_the_agent_goes_on(
    http: httpx.Client,
    new_agent: NewAgent,
    new_block: NewBlock,
    scripted_model: ScriptedModel,
    tool: str,
    arguments: str,
) -> None:
    block = new_block(value="one")
    rules = [{"type": "requires_approval", "tool_name": tool}]
    agent = new_agent(block_ids=[block.id], tools=[tool], tool_rules=rules)
    like = {"tool_name": tool, "arguments": {"label": "other"}, "exact": True}
    http.post(f"/v1/agents/{agent.id}/standing-approvals", json=like).raise_for_status()
    scripted_model.reply_next(calling(call(tool, arguments.replace("LABEL", block.label))))
    (call_id,) = waiting(say(http, agent.id, "hello"))
    for page in ("/inbox", f"/agents/{agent.id}", f"/v1/agents/{agent.id}/messages"):
        shown = http.get(page)
        assert (shown.status_code, call_id in shown.text or agent.id in shown.text) == (200, True), page
    assert ok(decide(http, agent.id, approval(call_id)))["messages"][0]["status"] == "error"
    assert say(http, agent.id, "ECHO on")["stop_reason"]["stop_reason"] == "end_turn"
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "one"


def test_the_errors_have_the_words_that_clients_match_on(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    early = decide(http, agent.id, approval("call_9"))
    assert early.status_code == 400
    assert "No tool call is currently awaiting approval" in early.json()["detail"]
    (call_id,) = waiting(say(http, agent.id, SEARCH))
    pending = http.post(f"/v1/agents/{agent.id}/messages", json={"input": "hello?"})
    assert pending.status_code == 409
    assert "waiting for approval" in pending.json()["detail"]["message"]
    wrong = decide(http, agent.id, approval("call_9"), approval("call_8"))
    assert (wrong.status_code, wrong.json()["detail"]) == (
        400,
        f"Invalid tool call IDs. Expected '['{call_id}']', but received '['call_9', 'call_8']'.",
    )


@pytest.mark.parametrize(("settled", "reason"), [("decided", "end_turn"), ("cancelled", "cancelled")])
def test_a_settled_run_does_not_show_as_waiting(
    http: httpx.Client, new_agent: NewAgent, settled: str, reason: str
) -> None:
    agent = new_agent(tool_rules=[RULE])
    (call_id,) = waiting(say(http, agent.id, f"{SEARCH}\nTHEN ECHO done"))
    asked = {"agent_id": agent.id, "stop_reason": "requires_approval"}
    (run,) = ok(http.get("/v1/runs", params=asked))
    if settled == "decided":
        ok(decide(http, agent.id, approval(call_id)))
    else:
        ok(http.post(f"/v1/agents/{agent.id}/messages/cancel"))
    assert ok(http.get("/v1/runs", params=asked)) == []
    assert ok(http.get(f"/v1/runs/{run['id']}"))["stop_reason"] == reason
