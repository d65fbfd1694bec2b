"""An agent's tool rules hold in real turns: what the model is made to call, what it is refused, when it may stop."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from runs.talking import (
    SEARCH,
    Event,
    answered,
    approval,
    call,
    calling,
    decide,
    kinds,
    ok,
    read,
    say,
    whole,
)
from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel

S = "conversation_search"
I = "memory_insert"  # noqa: E741
R = "memory_replace"


def rule(kind: str, tool: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "tool_name": tool, **more}


class Moot:
    """An agent with a block and with rules."""

    def __init__(self, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, model: ScriptedModel) -> None:
        self.http, self.model = http, model
        self.block = new_block()
        self._new_agent = new_agent

    def agent(self, *rules: dict[str, Any], **more: Any) -> str:
        self.id = self._new_agent(block_ids=[self.block.id], tool_rules=list(rules), **more).id
        return self.id

    def insert(self, text: str = "x") -> str:
        return f"CALL {I} {json.dumps({'label': self.block.label, 'new_string': text})}"

    def say(self, script: str, **more: Any) -> Event:
        turn = say(self.http, self.id, script, **more)
        whole(self.http, self.id)
        return turn

    def choices(self) -> list[Any]:
        """Return what each model call was made to call."""
        return [request.get("tool_choice") for request in self.model.requests]


def forced(tool: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool}}


def statuses(turn: Event) -> list[tuple[str, str]]:
    return [(m["name"], m["status"]) for m in turn["messages"] if m["message_type"] == "tool_return_message"]


@pytest.fixture
def moot(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel) -> Moot:
    """An agent to be made, and its block."""
    return Moot(http, new_agent, new_block, scripted_model)


def test_run_first_makes_the_model_begin_with_the_tool(moot: Moot) -> None:
    moot.agent(rule("run_first", S))
    turn = moot.say(f"{SEARCH}\nTHEN {moot.insert()}\nTHEN ECHO bye")
    assert statuses(turn) == [(S, "success"), (I, "success")]
    assert moot.choices()[0] == forced(S)
    assert moot.choices()[1:] in ([None, None], ["auto", "auto"])
    assert turn["messages"][-1]["content"] == "bye"


def test_run_first_refuses_another_tool_readably_and_the_model_can_try_again(moot: Moot) -> None:
    moot.agent(rule("run_first", S))
    turn = moot.say(f"{moot.insert()}\nTHEN {SEARCH}\nTHEN {moot.insert()}")
    assert statuses(turn) == [(I, "error"), (S, "success"), (I, "success")]
    refused = next(m for m in turn["messages"] if m["message_type"] == "tool_return_message")
    assert S in refused["tool_return"]
    assert ok(moot.http.get(f"/v1/blocks/{moot.block.id}"))["value"] == "x"


def test_run_first_holds_in_each_turn_anew(moot: Moot) -> None:
    moot.agent(rule("run_first", S))
    for _ in range(2):
        moot.say(SEARCH)
    assert [choice for choice in moot.choices() if choice == forced(S)] == [forced(S)] * 2


def test_run_first_prefills_arguments(moot: Moot) -> None:
    moot.agent(rule("run_first", S, args={"query": "what the rule says"}))
    turn = moot.say(f'CALL {S} {{"query": "what the model says"}}')
    returned = next(m for m in turn["messages"] if m["message_type"] == "tool_return_message")
    assert json.loads(returned["tool_return"])["query"] == "what the rule says"


def test_children_are_the_only_ones_to_follow(moot: Moot) -> None:
    moot.agent(rule("constrain_child_tools", S, children=[I]))
    turn = moot.say(f"{SEARCH}\nTHEN {SEARCH}\nTHEN {moot.insert()}\nTHEN ECHO bye")
    assert statuses(turn) == [(S, "success"), (S, "error"), (I, "success")]
    assert moot.choices()[1] == forced(I)


def test_conditional_follows_what_the_tool_returned(moot: Moot) -> None:
    text = '{"query": null, "count": 0, "messages": []}'
    moot.agent(rule("conditional", S, child_output_mapping={text: I}, default_child=R))
    turn = moot.say(f"{SEARCH}\nTHEN {moot.insert()}")
    first = next(m for m in turn["messages"] if m["message_type"] == "tool_return_message")
    follows = forced(I if first["tool_return"] == text else R)
    assert moot.choices()[1] == follows


def test_a_terminal_tool_ends_the_turn(moot: Moot) -> None:
    moot.agent(rule("exit_loop", S))
    turn = moot.say(f"{moot.insert()}\nTHEN {SEARCH}\nTHEN ECHO never")
    assert statuses(turn) == [(I, "success"), (S, "success")]
    assert turn["stop_reason"]["stop_reason"] == "tool_rule"
    assert len(moot.model.requests) == 2


def test_a_terminal_tool_that_fails_does_not_end_the_turn(moot: Moot) -> None:
    moot.agent(rule("exit_loop", I))
    turn = moot.say(f"CALL {I} {{}}\nTHEN {moot.insert()}\nTHEN ECHO never")
    assert statuses(turn) == [(I, "error"), (I, "success")]
    assert turn["stop_reason"]["stop_reason"] == "tool_rule"


def test_continue_demands_a_further_call(moot: Moot) -> None:
    moot.agent(rule("continue_loop", S))
    moot.model.reply_next(calling(call(S)))
    moot.model.reply_next({"content": "I want to stop."})
    turn = moot.say(f"{SEARCH}\nTHEN {moot.insert()}\nTHEN ECHO bye")
    assert moot.choices()[1] == "required"
    assert "system_message" in kinds(turn["messages"]), "it is told to call a tool"
    assert turn["messages"][-1]["content"] == "bye"


def test_max_count_refuses_one_call_too_many(moot: Moot) -> None:
    moot.agent(rule("max_count_per_step", S, max_count_limit=2))
    turn = moot.say("\n".join([SEARCH] * 4))
    assert [status for _, status in statuses(turn)] == ["success", "success", "error", "error"]
    turn = moot.say(SEARCH)
    assert statuses(turn) == [(S, "success")], "each turn is counted for itself"


def test_max_count_holds_within_one_reply(moot: Moot) -> None:
    moot.agent(rule("max_count_per_step", S, max_count_limit=2))
    turn = moot.say(f"CALLS {json.dumps([[S, {}]] * 4)}")
    assert [status for _, status in statuses(turn)].count("success") <= 2


def test_required_before_exit_keeps_the_turn_open(moot: Moot) -> None:
    moot.agent(rule("required_before_exit", S))
    moot.model.reply_next({"content": "I want to stop."})
    turn = moot.say(f"{SEARCH}\nTHEN ECHO bye")
    assert kinds(turn["messages"]) == [
        *("assistant_message", "system_message", "tool_call_message", "tool_return_message", "assistant_message"),
    ]
    assert S in turn["messages"][1]["content"]
    assert turn["stop_reason"]["stop_reason"] == "end_turn"


def test_required_before_exit_comes_before_a_terminal_tool(moot: Moot) -> None:
    moot.agent(rule("required_before_exit", S), rule("exit_loop", I))
    turn = moot.say(f"{moot.insert()}\nTHEN {SEARCH}\nTHEN ECHO never")
    assert statuses(turn) == [(I, "success"), (S, "success")]
    assert turn["stop_reason"]["stop_reason"] == "tool_rule"


def test_a_model_that_never_obeys_is_stopped(moot: Moot) -> None:
    moot.agent(rule("required_before_exit", S))
    turn = moot.say("ECHO no", max_steps=4)
    assert turn["stop_reason"]["stop_reason"] == "max_steps"
    assert say(moot.http, moot.id, f"{SEARCH}\nTHEN ECHO and on")["messages"][-1]["content"] == "and on"


def test_a_child_of_a_parent_only_right_after_it(moot: Moot) -> None:
    moot.agent(rule("parent_last_tool", S, children=[I]))
    turn = moot.say(f"{moot.insert('a')}\nTHEN {SEARCH}\nTHEN {moot.insert('b')}\nTHEN {moot.insert('c')}")
    assert statuses(turn) == [(I, "error"), (S, "success"), (I, "success"), (I, "error")]
    assert ok(moot.http.get(f"/v1/blocks/{moot.block.id}"))["value"] == "b"


def test_rules_hold_in_streams_too(moot: Moot) -> None:
    moot.agent(rule("run_first", S), rule("exit_loop", I))
    events = read(answered(moot.http, moot.id, f"{SEARCH}\nTHEN {moot.insert()}", stream_tokens=True))
    assert events[-2]["stop_reason"] == "tool_rule"
    assert moot.choices()[0] == forced(S)


# -- rules and approvals -------------------------------------------------------------------------------------


def approved(moot: Moot, script: str, **more: Any) -> Event:
    """Say something, approve the call that it leads to, and return the turn after that."""
    turn = moot.say(script)
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    call_id = turn["messages"][-1]["tool_call"]["tool_call_id"]
    after: Event = ok(decide(moot.http, moot.id, approval(call_id), **more))
    whole(moot.http, moot.id)
    return after


@pytest.mark.parametrize(
    ("other", "stop"),
    [
        pytest.param(rule("run_first", S), "end_turn", id="run first"),
        pytest.param(rule("required_before_exit", S), "end_turn", id="required before exit"),
        pytest.param(rule("exit_loop", S), "tool_rule", id="terminal"),
    ],
)
def test_an_approved_call_counts_for_the_other_rules(moot: Moot, other: dict[str, Any], stop: str) -> None:
    moot.agent(other, rule("requires_approval", S))
    turn = approved(moot, f"{SEARCH}\nTHEN ECHO bye", max_steps=3)
    assert turn["stop_reason"]["stop_reason"] == stop


def test_an_approved_call_counts_for_its_children(moot: Moot) -> None:
    moot.agent(rule("constrain_child_tools", S, children=[I]), rule("requires_approval", S))
    turn = approved(moot, f"{SEARCH}\nTHEN {moot.insert()}\nTHEN ECHO bye", max_steps=3)
    assert moot.choices()[1] == forced(I)
    assert turn["messages"][-1]["content"] == "bye"


def test_calls_before_an_approval_count_after_it(moot: Moot) -> None:
    moot.agent(rule("run_first", I), rule("requires_approval", S))
    turn = approved(moot, f"{moot.insert()}\nTHEN {SEARCH}\nTHEN ECHO bye", max_steps=3)
    assert turn["stop_reason"]["stop_reason"] == "end_turn"


def test_rules_about_tools_that_the_agent_does_not_have_bind_nobody(moot: Moot) -> None:
    moot.agent(rule("run_first", "nonsense"), rule("required_before_exit", "nonsense"), rule("exit_loop", "nonsense"))
    assert moot.say("ECHO hello")["stop_reason"]["stop_reason"] == "end_turn"
