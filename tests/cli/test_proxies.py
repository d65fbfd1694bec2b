"""The proxies that the environment names: not on the way to this machine; elsewhere they are taken, or told of."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from letta_client import APIStatusError

from support.clients import official_client
from support.fixtures import MODEL, StartServer, one_store
from support.server import ServerProcess

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]

NOBODY = "http://127.0.0.1:9"
SOCKS = "socks5://127.0.0.1:9"
PROXIES = {"HTTP_PROXY": NOBODY, "HTTPS_PROXY": NOBODY, "ALL_PROXY": SOCKS}
COMMANDS = (("blocks",), ("runs",), ("keys", "list"), ("mcp",))


@one_store
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_ask_a_server_on_this_machine_without_a_proxy(
    folkmoot: Folkmoot, server: ServerProcess, arguments: tuple[str, ...]
) -> None:
    done = folkmoot(*arguments, FOLKMOOT_URL=server.url, **PROXIES)
    assert done.returncode == 0, done.stderr


@one_store
def test_commands_ask_a_server_elsewhere_through_the_proxy(folkmoot: Folkmoot, server: ServerProcess) -> None:
    done = folkmoot("blocks", FOLKMOOT_URL="http://moot.example", HTTP_PROXY=server.url)
    assert "moot.example" in done.stderr  # says the server in the proxy's place, whose name that is not
    assert "FOLKMOOT_ALLOWED_HOSTS" in done.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("proxy", "said"), [(SOCKS, "pip install socksio"), ("ftp://u:secret@proxy.example", "Unknown scheme")]
)
def test_a_proxy_that_cannot_be_used_is_told_in_a_line(
    folkmoot: Folkmoot, arguments: tuple[str, ...], proxy: str, said: str
) -> None:
    done = folkmoot(*arguments, FOLKMOOT_URL="http://moot.example", ALL_PROXY=proxy)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert "secret" not in done.stderr


@one_store
def test_models_on_this_machine_are_asked_without_a_proxy(start_server: StartServer) -> None:
    with official_client(start_server(env=PROXIES).url) as client:
        agent = client.agents.create(model=MODEL)
        reply = client.agents.messages.create(agent.id, input="ECHO hello")
    assert reply.stop_reason.stop_reason == "end_turn"


@one_store
def test_a_model_that_no_proxy_leads_to_says_why(start_server: StartServer) -> None:
    server = start_server(env={"ALL_PROXY": SOCKS, "OPENAI_BASE_URL": "http://models.example/v1"})
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL)
        with pytest.raises(APIStatusError, match="pip install socksio") as failed:
            client.agents.messages.create(agent.id, input="hello")
    assert failed.value.status_code == 502
