"""How a run was streamed is forgotten after a time; what was said stays."""

from __future__ import annotations

import httpx

from runs.talking import DONE, answered, followed, kinds, ok, read, run_of
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import PATIENCE

LOOKS = 500


def test_an_old_runs_stream_shows_its_messages_whole(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_KEEP_STREAMS": "0.001"})
    with httpx.Client(timeout=PATIENCE) as plain:
        agent = ok(plain.post(f"{server.url}/v1/agents", json={"model": MODEL}))["id"]
        with plain_client(server.url) as http:
            events = answered(http, agent, "ECHO one two three four", stream_tokens=True)
        assert kinds(read(events)).count("assistant_message") > 1
        server.restart()  # a server looks for old streams when it starts, and then every minute
        with plain_client(server.url) as http:
            for _ in range(LOOKS):
                shown = followed(http, run_of(events[0]))
                if kinds(read(shown)).count("assistant_message") == 1:
                    break
            assert kinds(read(shown)) == [
                "ping",
                "user_message",
                "assistant_message",
                "stop_reason",
                "usage_statistics",
            ]
            assert shown[-1] == DONE
            said = [message["content"] for message in ok(http.get(f"/v1/agents/{agent}/messages"))]
            assert said[-1] == "one two three four"
