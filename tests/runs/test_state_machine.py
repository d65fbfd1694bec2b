"""Turns, cancels, approvals, failures and restarts in any order, against a model of what the conversation must be.

One real server on SQLite for all examples; each example has an agent of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from runs.talking import approval, call, calling, decide, followed, kinds, last_run, ok, post, read, say, whole
from support.model_faults import Held
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize(
    ("store", "provider"), [("sqlite", "openai"), ("sqlite", "anthropic")], indirect=True
)

EXAMPLES = {"openai": 12, "anthropic": 4}

CALLED = ["tool_call_message", "tool_return_message"]
FREE = "CALL memory_insert {}"
"""A call that need not wait for approval; it fails, which is a return like any other."""


class Conversation(RuleBasedStateMachine):
    """One agent's conversation; `said` is what must be stored, `pending` the calls that wait for approval."""

    server: ServerProcess
    scripted: ScriptedModel
    http: httpx.Client
    model: str

    def __init__(self) -> None:
        super().__init__()
        rules = [{"type": "requires_approval", "tool_name": "conversation_search"}]
        self.agent: str = ok(self.http.post("/v1/agents", json={"model": self.model, "tool_rules": rules}))["id"]
        self.said: list[str] = ["system_message"]
        self.pending: list[str] = []
        self.number = 0
        self.restarts_left = 1
        self.stack = ExitStack()
        self.pool = self.stack.enter_context(ThreadPoolExecutor(1))
        self.held: Held | None = None
        self.held_run = ""
        self.asking: Future[Any] | None = None
        self.holding = self.stack.enter_context(ExitStack())

    def teardown(self) -> None:
        self.holding.close()
        if self.held_run:
            followed(self.http, self.held_run)
        self.stack.close()

    def word(self) -> str:
        self.number += 1
        return f"word{self.number}"

    # -- turns -----------------------------------------------------------------------------------------------

    free = precondition(lambda self: not self.pending and self.held is None)
    waits = precondition(lambda self: bool(self.pending) and self.held is None)

    @free
    @rule(steps=st.integers(0, 3), way=st.sampled_from(["plain", "stream", "tokens", "async"]))
    def turn(self, steps: int, way: str) -> None:
        word = self.word()
        script = "\n".join([*[FREE] * steps, f"THEN ECHO {word}" if steps else f"ECHO {word}"])
        body = {"input": script, "stream_tokens": way == "tokens"}
        if way == "plain":
            turn = say(self.http, self.agent, script)
            assert turn["messages"][-1]["content"] == word
            assert kinds(turn["messages"]) == [*CALLED * steps, "assistant_message"]
        else:
            path = "async" if way == "async" else "stream"
            answer = self.http.post(f"/v1/agents/{self.agent}/messages/{path}", json=body)
            entries = followed(self.http, ok(answer)["id"]) if way == "async" else _data(answer.text)
            assert entries[-1] == "[DONE]"
            told = [e["content"] for e in read(entries) if e["message_type"] == "assistant_message"]
            assert "".join(told) == word
        self.said += ["user_message", *CALLED * steps, "assistant_message"]

    @free
    @rule(calls=st.integers(1, 3), before=st.integers(0, 1))
    def turn_that_waits(self, calls: int, before: int) -> None:
        waiting = json.dumps([["conversation_search", {}]] * calls)
        turn = say(self.http, self.agent, "\n".join([*[FREE] * before, f"CALLS {waiting}"]))
        assert turn["stop_reason"]["stop_reason"] == "requires_approval"
        self.pending = [each["tool_call_id"] for each in turn["messages"][-1]["tool_calls"]]
        self.said += ["user_message", *CALLED * before, "approval_request_message"]

    @free
    @rule(before=st.integers(0, 2), streamed=st.booleans())
    def turn_that_fails(self, before: int, streamed: bool) -> None:
        for _ in range(before):
            self.scripted.reply_next(calling(call("memory_insert", call_id=f"call_of_{self.word()}")))
        self.scripted.fail_next(400)
        if streamed:
            answer = self.http.post(f"/v1/agents/{self.agent}/messages/stream", json={"input": "lost"})
            assert kinds(read(_data(answer.text)))[-2:] == ["error_message", "stop_reason"]
        else:
            assert post(self.http, self.agent, "lost").status_code == 502
        if before:
            self.said += ["user_message", *CALLED * before]

    # -- approvals -------------------------------------------------------------------------------------------

    @waits
    @rule(yes=st.lists(st.booleans(), min_size=3, max_size=3))
    def decide_all(self, yes: list[bool]) -> None:
        decisions = [approval(each, approve=wanted) for each, wanted in zip(self.pending, yes, strict=False)]
        turn = ok(decide(self.http, self.agent, *decisions))
        returns = [m["status"] for m in turn["messages"] if m["message_type"] == "tool_return_message"]
        assert returns == ["success" if wanted else "error" for _, wanted in zip(self.pending, yes, strict=False)]
        answered = ["approval_response_message", *["tool_return_message"] * len(self.pending)]
        self.said += [*answered, "assistant_message"]
        self.pending = []

    @waits
    @rule(what=st.sampled_from(["message", "stream", "unknown", "partial"]))
    def refused(self, what: str) -> None:
        if what in ("message", "stream"):
            path = "/stream" if what == "stream" else ""
            answer = self.http.post(f"/v1/agents/{self.agent}/messages{path}", json={"input": "hello?"})
            assert answer.status_code == 409
        elif what == "unknown":
            assert decide(self.http, self.agent, approval("call_unknown")).status_code == 400
        elif len(self.pending) > 1:
            assert decide(self.http, self.agent, approval(self.pending[0])).status_code == 400

    @waits
    @rule()
    def given_up(self) -> None:
        assert ok(self.http.post(f"/v1/agents/{self.agent}/messages/cancel")) == {}
        self.said += ["tool_return_message"] * len(self.pending)
        self.pending = []

    @free
    @rule()
    def decision_that_nobody_asked_for(self) -> None:
        assert decide(self.http, self.agent, approval("call_unknown")).status_code == 400

    # -- held turns, cancels, restarts -----------------------------------------------------------------------

    @free
    @rule(steps=st.integers(0, 2), tokens=st.booleans())
    def begin_and_hold(self, steps: int, tokens: bool) -> None:
        self.held = self.holding.enter_context(self.scripted.hold(matching="held"))
        script = "\n".join(["held", *[FREE] * steps, "THEN ECHO at last" if steps else "ECHO at last"])
        body = {"input": script, "stream_tokens": tokens}
        self.held_run = ok(self.http.post(f"/v1/agents/{self.agent}/messages/async", json=body))["id"]
        for number in range(1, steps + 1):
            self.held.wait_for(number)
            self.held.release(1)
        self.held.wait_for(steps + 1)
        self.said += ["user_message", *CALLED * steps] if steps else []
        self.rest_of_held = ["assistant_message"] if steps else ["user_message", "assistant_message"]

    is_held = precondition(lambda self: self.held is not None)

    @is_held
    @rule()
    def let_go(self) -> None:
        self.holding.pop_all().close()
        assert kinds(read(followed(self.http, self.held_run)))[-2:] == ["stop_reason", "usage_statistics"]
        self.said += self.rest_of_held
        self.held, self.held_run = None, ""

    @is_held
    @rule(named=st.booleans())
    def cancel(self, named: bool) -> None:
        body = {"run_ids": [self.held_run]} if named else None
        answer = ok(self.http.post(f"/v1/agents/{self.agent}/messages/cancel", json=body))
        assert answer == {self.held_run: "cancelled"}
        assert read(followed(self.http, self.held_run))[-1]["stop_reason"] == "cancelled"
        assert last_run(self.http, self.agent)["status"] == "cancelled"
        self.holding.pop_all().close()
        self.held, self.held_run = None, ""

    @is_held
    @rule()
    def nothing_of_a_step_shows_before_its_end(self) -> None:
        assert ok(self.http.get(f"/v1/runs/{self.held_run}"))["status"] == "running"

    @precondition(lambda self: self.restarts_left > 0)
    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.restarts_left -= 1
        if kill:
            self.server.kill()
        else:
            self.server.stop()
        self.server.start()
        if self.held is not None:
            run = ok(self.http.get(f"/v1/runs/{self.held_run}"))
            assert (run["status"], run["stop_reason"]) == ("failed", "error")
            self.holding.pop_all().close()
            self.held, self.held_run = None, ""

    @invariant()
    def the_conversation_is_what_it_must_be(self) -> None:
        assert kinds(whole(self.http, self.agent)) == self.said


def _data(text: str) -> list[str]:
    return [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]


@pytest.fixture
def server_of_its_own(store: str, scripted_model: ScriptedModel, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that may be stopped and killed; what is under way at its end is given up at once."""
    with ServerProcess(
        database=f"sqlite:///{tmp_path / 'folkmoot.sqlite3'}",
        home=tmp_path / "server",
        model_url=scripted_model.base_url,
        anthropic_url=scripted_model.base_url,
        env={"FOLKMOOT_SHUTDOWN_WAIT": "0.1"},
    ) as server:
        yield server


def test_any_sequence_of_turns_cancels_approvals_and_restarts(
    server_of_its_own: ServerProcess, scripted_model: ScriptedModel, provider: str, model: str
) -> None:
    with httpx.Client(
        base_url=server_of_its_own.url, timeout=PATIENCE, transport=httpx.HTTPTransport(retries=1)
    ) as http:

        class Driven(Conversation):
            server = server_of_its_own
            scripted = scripted_model

        Driven.http, Driven.model = http, model
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Driven,
            settings=settings(
                max_examples=EXAMPLES[provider],
                stateful_step_count=15,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    assert "Traceback" not in server_of_its_own.log()
