"""Readers that go away from a stream free what they held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psutil
import pytest

from runs.talking import followed, following, kinds, ok, read, run_of, say, streaming
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import until
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

READERS = 50
NONE_KEPT = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""A connection that is kept would be counted, until the server hangs up after some idle seconds."""


class Opened:
    """What a server holds open for those who are connected to it."""

    def __init__(self, server: ServerProcess) -> None:
        self._process = psutil.Process(server.process.pid)
        self._port = server.port

    def sockets(self) -> int:
        """Count the connections at its port, whatever their state, without the listening one."""
        found = self._process.net_connections(kind="tcp")
        return sum(bool(each.raddr) and each.laddr.port == self._port for each in found)

    def files(self) -> int:
        """Count whatever is open, the database's connections too, of which there may be a few more or less."""
        return self._process.num_fds()

    def comes_to(self, sockets: int) -> None:
        """Return when there are no more than so many sockets."""
        until(lambda: self.sockets() <= sockets)


@contextmanager
def readers(http: httpx.Client, run_id: str) -> Iterator[None]:
    """Open streams of the run, each of which has shown its first event; leaving the block hangs up."""
    with ExitStack() as streams:
        opened = [streams.enter_context(following(http, run_id)) for _ in range(READERS)]
        assert {json.loads(each.next())["message_type"] for each in opened} == {"ping"}
        yield


@pytest.mark.parametrize(
    ("store", "elsewhere"),
    [
        pytest.param("sqlite", False, id="sqlite"),
        pytest.param("postgres", False, id="postgres"),
        pytest.param("postgres", True, id="postgres, a run of another process"),
    ],
    indirect=["store"],
)
def test_readers_that_go_away_leave_no_connection_open(
    start_server: StartServer, scripted_model: ScriptedModel, elsewhere: bool
) -> None:
    server = start_server()
    working = start_server() if elsewhere else server
    with (
        plain_client(server.url, limits=NONE_KEPT) as http,
        plain_client(working.url, limits=NONE_KEPT) as there,
        scripted_model.hold() as held,
    ):
        agent = ok(there.post("/v1/agents", json={"model": MODEL}))["id"]
        run_id = ok(there.post(f"/v1/agents/{agent}/messages/async", json={"input": "ECHO hello"}))["id"]
        held.wait_for(1)
        opened = Opened(server)
        with readers(http, run_id):  # a pool of the database's opens what it needs
            assert opened.sockets() >= READERS
        opened.comes_to(0)
        files = opened.files()
        for _ in range(3):
            with readers(http, run_id):
                assert opened.sockets() >= READERS
            opened.comes_to(0)
        assert opened.files() < files + READERS
        assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "running"
        held.release()
        assert kinds(read(followed(http, run_id)))[-2:] == ["stop_reason", "usage_statistics"]
        assert say(http, agent, "ECHO and on")["messages"][-1]["content"] == "and on"
    assert "Traceback" not in server.log()


def test_senders_that_go_away_leave_no_connection_open(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """Their turns go on without them, one after the other, and are all answered."""
    server = start_server()
    with plain_client(server.url, limits=NONE_KEPT) as http, scripted_model.hold() as held:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
        opened = Opened(server)
        with ExitStack() as streams:
            sent = [streams.enter_context(streaming(http, agent, f"ECHO {number}")) for number in range(READERS)]
            runs = [run_of(each.next()) for each in sent]
            held.wait_for(1)
            assert opened.sockets() >= READERS
        opened.comes_to(0)
        held.release()
        for run_id in runs:
            assert kinds(read(followed(http, run_id)))[-3:-2] == ["assistant_message"]
