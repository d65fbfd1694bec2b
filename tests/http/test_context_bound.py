"""However many messages an agent has had, so many are in its context at most."""

from __future__ import annotations

from typing import Any

from runs.talking import ok, say, whole
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.scripted_model import ScriptedModel

MOST = 40
SEARCH = "CALL conversation_search {}"


def is_summary_request(request: dict[str, Any]) -> bool:
    return "Write the summary now." in str(request["messages"][-1]["content"])


def counts(model: ScriptedModel) -> tuple[list[int], int]:
    """Return how many messages each request for a reply had, and how many requests there were for a summary."""
    replies = [len(request["messages"]) for request in model.requests if not is_summary_request(request)]
    return replies, len(model.requests) - len(replies)


def test_a_context_has_so_many_messages_at_most(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_CONTEXT_MESSAGES": str(MOST)})
    with plain_client(server.url) as http:
        first = [{"role": ("user", "assistant")[n % 2], "content": f"word{n} said"} for n in range(300)]
        agent = ok(http.post("/v1/agents", json={"model": MODEL, "initial_message_sequence": first}))["id"]
        for number in range(60):
            say(http, agent, f"ECHO turn{number}")
        replies, summaries = counts(scripted_model)
        assert len(replies) == 60
        assert max(replies) <= MOST + 5, "the instructions, the summary, the memory and what was just said come on top"
        assert 3 <= summaries <= 10, "room is made for many turns at once"
        assert len(whole(http, agent)) == 1 + 300 + 120, "nothing was deleted"
        found = ok(http.post("/v1/messages/search", json={"query": "word3", "agent_id": agent}))
        assert "word3 said" in str(found)


def test_a_turn_of_more_steps_than_a_context_holds_goes_on(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_CONTEXT_MESSAGES": str(MOST)})
    with plain_client(server.url) as http:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
        turn = say(http, agent, f"{SEARCH}\n" + f"THEN {SEARCH}\n" * 44 + "THEN ECHO over")
        assert turn["stop_reason"]["stop_reason"] in ("end_turn", "max_steps")
        replies, summaries = counts(scripted_model)
        assert len(replies) >= 40
        assert max(replies) <= MOST + 5
        assert 1 <= summaries <= 8, "not one for each step"
        whole(http, agent)
        assert say(http, agent, "ECHO and on")["messages"][-1]["content"] == "and on"
