"""Connections to servers of tools: of both generations of the protocol, and to those that do everything wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from folkmoot.errors import ToolServerFailed
from folkmoot.sandbox.calls import Mode
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.tools.mcp.authorizations import Renewals
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionLost, ConnectionOptions, SessionEnded
from folkmoot.tools.mcp.listing import read_listing
from folkmoot.tools.mcp.pool import ConnectionKey, ConnectionPool
from folkmoot.tools.mcp.results import tool_result
from support.polling import PATIENCE, until
from support.scripts import start
from support.tool_servers import FASTMCP_SERVER, PATHS, PLAIN_SERVER, TOOL_SERVER, running

SANDBOX = Sandbox("strict")
PRIVATE = ConnectionOptions(allow_private=True, sandbox=SANDBOX)
NEWER, OLDER = "2026-07-28", "2025-11-25"


@pytest.fixture(scope="module")
def addresses() -> Iterator[Callable[[str], str]]:
    """The addresses of servers that run as long as the module's tests; each is started when it is first asked for."""
    with ExitStack() as stack:
        found: dict[str, str] = {}

        def address(kind: str) -> str:
            if kind not in found:
                scripts = {"fastmcp": FASTMCP_SERVER, "faulty": PLAIN_SERVER}
                script = scripts.get(kind, TOOL_SERVER)
                found[kind] = stack.enter_context(running(script, kind if kind in PATHS else "http"))
            return found[kind]

        yield address


def program(script: Path = TOOL_SERVER, **env: str) -> ServerConfiguration:
    return ServerConfiguration("stdio", command=sys.executable, args=[str(script), "stdio"], env=env)


@asynccontextmanager
async def connected(
    configuration: ServerConfiguration,
    changed: Callable[[], None] = lambda: None,
    options: ConnectionOptions = PRIVATE,
) -> AsyncIterator[Connection]:
    connection = Connection("server", configuration, options, changed)
    try:
        yield connection
    finally:
        await connection.close()


def configured(kind: str, addresses: Callable[[str], str]) -> ServerConfiguration:
    if kind == "stdio":
        return program()
    if kind == "faulty-stdio":
        return program(PLAIN_SERVER, S="hush-hush")
    return ServerConfiguration("sse" if kind == "sse" else "streamable_http", server_url=addresses(kind))


async def said(connection: Connection, tool: str, **arguments: Any) -> str:
    return tool_result(await connection.call(tool, arguments, 60)).text


@pytest.mark.parametrize(
    ("kind", "version"), [("stdio", NEWER), ("http", NEWER), ("older-http", OLDER), ("sse", OLDER)]
)
async def test_the_sdks_own_servers_are_asked(kind: str, version: str, addresses: Callable[[str], str]) -> None:
    changes: asyncio.Queue[None] = asyncio.Queue()
    async with connected(configured(kind, addresses), lambda: changes.put_nowait(None)) as connection:
        session = await connection.opened()
        assert session.protocol_version == version
        names = [tool.name for tool in await connection.list_tools()]
        assert names[:2] == ["mcp_add", "shout"]
        answers = await asyncio.gather(*(said(connection, "mcp_add", a=number, b=1) for number in range(20)))
        assert answers == [str(number + 1) for number in range(20)]
        result = tool_result(await connection.call("fails", {"x": "z"}, 60))
        assert (result.failed, result.text) == (True, "Error executing tool fails: mock failure z")
        shown = tool_result(await connection.call("picture", {}, 60))
        assert (shown.text, [each.media_type for each in shown.pictures]) == ("(picture 1)", ["image/png"])
        if kind != "http":  # where the subscription may not be there yet
            await said(connection, "grow", name="grown")
            await asyncio.wait_for(changes.get(), PATIENCE)
            assert "grown" in [tool.name for tool in await connection.list_tools()]
            await said(connection, "shrink", name="grown")


@pytest.mark.parametrize("kind", ["stdio", "fastmcp"])
async def test_another_implementation_is_asked(kind: str, addresses: Callable[[str], str]) -> None:
    configuration = program(FASTMCP_SERVER) if kind == "stdio" else configured(kind, addresses)
    async with connected(configuration) as connection:
        assert {tool.name for tool in await connection.list_tools()} == {"multiply", "facts"}
        assert await said(connection, "multiply", a=6, b=7) == "42"
        assert '"known":"nothing"' in await said(connection, "facts", about="x")


async def test_a_program_that_ends_at_the_newer_protocol_is_asked_in_the_older_one() -> None:
    """As those made with the SDK for Rust do, up to its version 3."""
    async with connected(program(PLAIN_SERVER, TOOL_SERVER_OLD="1")) as connection:
        assert await said(connection, "ok") == "fine"
        assert connection.is_usable
        process = await said(connection, "process")
        assert await said(connection, "process") == process


async def test_a_program_that_does_not_start_in_time_says_what_may_be_the_matter(tmp_path: Path) -> None:
    fetcher = tmp_path / "npx"
    fetcher.symlink_to("/bin/sleep")
    options = ConnectionOptions(sandbox=SANDBOX, open_timeout=0.5)
    async with connected(ServerConfiguration("stdio", command=str(fetcher), args=("60",)), options=options) as slow:
        with pytest.raises(ToolServerFailed, match=r"within 0\.5 seconds\. npx fetches what it runs .* install that"):
            await slow.opened()


@pytest.fixture(params=["faulty-stdio", "faulty"])
def faulty(request: pytest.FixtureRequest, addresses: Callable[[str], str]) -> ServerConfiguration:
    kind: str = request.param
    return configured(kind, addresses)


@pytest.mark.parametrize("tool", ["hang", "flood", "garbage"])
async def test_who_waits_in_vain_goes_away_at_once_and_nobody_else_is_kept(
    tool: str, faulty: ServerConfiguration
) -> None:
    async with connected(faulty) as connection:
        assert await said(connection, "ok") == "fine"
        waiting = asyncio.create_task(connection.call(tool, {}, 60))
        meanwhile = await asyncio.wait_for(said(connection, "ok"), PATIENCE)
        assert meanwhile == "fine", "others are answered while it goes on"
        if tool == "garbage" and not faulty.is_program:
            with pytest.raises(ToolServerFailed, match="not of the protocol"):
                await waiting
            return
        turns = 0
        waiting.cancel()
        while not waiting.done():
            await asyncio.sleep(0)
            turns += 1
        assert waiting.cancelled()
        assert turns < 10, "without waiting for the server to hear of it"
        assert not connection.is_usable


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("huge", "more than 2,000,000 bytes|longer than 2,000,000 bytes"),
        ("die", "the program ended|disconnected"),
        ("not_a_result", "not of the protocol"),
        ("input", "not of the protocol"),
    ],
)
async def test_what_cannot_be_used_is_a_clear_error(tool: str, words: str, faulty: ServerConfiguration) -> None:
    async with connected(faulty) as connection:
        with pytest.raises(ToolServerFailed, match=f"^server: .*({words})") as raised:
            await connection.call(tool, {}, 60)
        assert "hush-hush" not in str(raised.value)
        assert connection.is_usable != (faulty.is_program and tool in ("huge", "die"))


async def test_an_answer_that_is_packed_is_not_unpacked(addresses: Callable[[str], str]) -> None:
    async with connected(configured("faulty", addresses)) as connection:
        with pytest.raises(ToolServerFailed, match="answers packed, although it was asked not to"):
            await connection.call("packed", {}, 60)


async def test_an_answer_is_not_held_against_the_servers_own_schema(faulty: ServerConfiguration) -> None:
    async with connected(faulty) as connection:
        await connection.list_tools()
        assert await said(connection, "lying_result") == 'fine\n{"other": 1}'


async def test_a_tool_whose_schema_is_none_says_what_is_wrong_with_it() -> None:
    async with connected(program(PLAIN_SERVER, FAULTY_LISTING="1")) as connection:
        (banana,) = read_listing(await connection.list_tools())
        assert not banana.is_sound
        assert banana.reasons == ["its arguments are no object"]


async def test_a_server_that_asks_without_end_is_let_go(faulty: ServerConfiguration) -> None:
    async with connected(faulty) as connection:
        with pytest.raises(ConnectionLost):
            await connection.call("ask", {}, 60)
        assert not connection.is_usable


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (ServerConfiguration("stdio", command="/nonexistent/program"), "is not found in"),
        (ServerConfiguration("stdio", command="/bin/false"), "the program ended"),
        (ServerConfiguration("streamable_http", server_url="http://127.0.0.1:9/mcp"), "could not be asked"),
        (ServerConfiguration("sse", server_url="http://127.0.0.1:9/sse"), "could not be asked"),
    ],
)
async def test_what_cannot_be_reached_says_why(configuration: ServerConfiguration, words: str) -> None:
    async with connected(configuration) as connection:
        with pytest.raises(ToolServerFailed, match=words):
            await connection.opened()
        assert not connection.is_usable


@pytest.mark.parametrize("server_type", ["streamable_http", "sse"])
async def test_private_addresses_are_not_dialled_unless_that_is_allowed(
    server_type: Any, addresses: Callable[[str], str]
) -> None:
    url = addresses("http").replace("127.0.0.1", "localhost")
    connection = Connection(
        "server", ServerConfiguration(server_type, server_url=url), ConnectionOptions(), lambda: None
    )
    with pytest.raises(ToolServerFailed, match=r"not public.*FOLKMOOT_PRIVATE_MCP_SERVERS"):
        await connection.opened()
    await connection.close()


async def test_a_program_has_an_environment_and_a_home_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SERVER", "secret")
    async with connected(program(PLAIN_SERVER, K="v")) as connection:
        values = {key: await said(connection, "env_value", key=key) for key in ("K", "OF_THE_SERVER", "HOME", "PATH")}
    assert values["K"] == "v"
    assert values["OF_THE_SERVER"] == "unset"
    assert values["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert values["HOME"] == "/call/home"


ORPHANS = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
    os._exit(0)
os.execv(sys.executable, [sys.executable, sys.argv[1], "stdio"])
"""


@pytest.mark.parametrize("mode", ["strict", "trusted"])
async def test_all_that_came_of_a_program_ends_with_it(mode: Mode) -> None:
    configuration = ServerConfiguration("stdio", command=sys.executable, args=["-c", ORPHANS, str(PLAIN_SERVER)])
    async with connected(configuration, options=ConnectionOptions(sandbox=Sandbox(mode))) as connection:
        assert await said(connection, "ok") == "fine"
        while not (orphans := [each for each in psutil.Process().children(recursive=True) if is_orphan(each)]):
            await asyncio.sleep(0.01)
        (orphan,) = orphans
    assert gone(orphan)


def is_orphan(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()[-1:] == ["import time; time.sleep(600)"]
    return False


SERVER = """
import asyncio, sys
from folkmoot.sandbox.calls import Mode
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionOptions

async def main():
    configuration = ServerConfiguration("stdio", command=sys.executable, args=[sys.argv[1], "stdio"])
    connection = Connection("server", configuration, ConnectionOptions(sandbox=Sandbox(sys.argv[2])), lambda: None)
    await connection.opened()
    print("open", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("mode", ["strict", "trusted"])
def test_programs_end_with_a_server_that_is_killed(mode: Mode, tmp_path: Path) -> None:
    script, said, errors = (tmp_path / name for name in ("server.py", "said", "errors"))
    script.write_text(SERVER)
    server = start(script, [str(PLAIN_SERVER), mode], environ=os.environ, output=said, errors=errors)
    until(lambda: said.exists() and said.read_text() == "open\n")
    family = psutil.Process(server.pid).children(recursive=True)
    assert len(family) == 2, "the guard and the program"
    server.kill()
    server.wait()
    assert all(gone(process) for process in family)


def gone(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.wait(PATIENCE)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


class Pool:
    """A pool, and connections of it by the name of their configuration."""

    def __init__(self, idle: float = 600) -> None:
        self.changed: list[ConnectionKey] = []
        self.pool = ConnectionPool(idle, self.changed.append)

    def connection(self, organization: str = "o", **env: str) -> Connection:
        configuration = program(PLAIN_SERVER, **env)
        key = ConnectionKey(organization, "s", configuration.fingerprint)
        return self.pool.connection(key, "server", configuration, PRIVATE)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.pool.close()


async def test_connections_are_shared_by_one_organisation_and_one_configuration(pool: Pool) -> None:
    first = pool.connection(A="1")
    assert pool.connection(A="1") is first
    assert len({pool.connection(A="1"), pool.connection(A="2"), pool.connection("p", A="1")}) == 3


async def test_a_lost_connection_is_made_anew(pool: Pool) -> None:
    first = pool.connection()
    with pytest.raises(ConnectionLost):
        await first.call("die", {}, 60)
    second = pool.connection()
    assert second is not first
    assert await said(second, "ok") == "fine"


async def test_connections_are_closed_when_nobody_uses_them() -> None:
    pool = Pool(idle=0.2)
    first = pool.connection()
    assert await said(first, "ok") == "fine"
    while first.is_usable:
        await asyncio.sleep(0.01)
    await pool.pool.close()


async def test_a_connection_in_use_is_not_closed_for_being_old() -> None:
    pool = Pool(idle=0.01)
    first = pool.connection()
    waiting = asyncio.create_task(first.call("hang", {}, 60))
    await first.opened()
    await asyncio.sleep(0.1)
    assert first.is_usable
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await pool.pool.close()


async def test_who_waits_gets_the_answer_though_somebody_else_gave_up(
    pool: Pool, addresses: Callable[[str], str], tmp_path: Path
) -> None:
    configuration = configured("faulty", addresses)

    def connection() -> Connection:
        return pool.pool.connection(ConnectionKey("o", "s", ""), "server", configuration, PRIVATE)

    async def asked(path: Path) -> asyncio.Task[str]:
        task = asyncio.create_task(said(connection(), "after", path=str(path)))
        while not path.with_suffix(".asked").exists():
            await asyncio.sleep(0.01)
        return task

    first = connection()
    answered, in_vain = await asked(tmp_path / "answered"), await asked(tmp_path / "in_vain")
    in_vain.cancel()
    await asyncio.gather(in_vain, return_exceptions=True)
    assert connection() is not first
    assert await said(connection(), "ok") == "fine"
    (tmp_path / "answered").touch()
    assert await answered == "fine"
    (tmp_path / "in_vain").touch()


async def test_who_waits_for_a_connection_that_is_used_no_more_is_answered(
    pool: Pool, addresses: Callable[[str], str]
) -> None:
    key = ConnectionKey("o", "s", "")
    connection = pool.pool.connection(key, "server", configured("faulty", addresses), PRIVATE)
    asking = asyncio.create_task(said(connection, "ok"))
    pool.pool.forget("o", "s")  # while it is being opened
    assert await asking == "fine"


async def test_a_connection_that_is_being_opened_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For it may be somebody's sign-in, which would be waited for."""
    monkeypatch.setattr("folkmoot.tools.mcp.connection.CLOSE_TIMEOUT", 10 * PATIENCE)
    asked = asyncio.Event()

    async def hang() -> None:
        asked.set()
        await asyncio.Event().wait()

    configuration = ServerConfiguration("streamable_http", server_url="http://127.0.0.1:1/")
    connection = Connection("server", configuration, ConnectionOptions(auth=hang, open_timeout=10 * PATIENCE), print)
    waiting = asyncio.create_task(connection.opened())
    await asked.wait()
    async with asyncio.timeout(PATIENCE):
        await connection.close()
        with pytest.raises(ConnectionLost, match="closed before it was open"):
            await waiting


async def test_a_process_that_stops_waits_until_renewals_that_take_too_long_are_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("folkmoot.tools.mcp.authorizations.LEAVE_SECONDS", 0.0)
    renewals, begun, told = Renewals(allow_private=True), asyncio.Event(), []

    async def renew() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as it writes that nobody renews them any more
            told.append("given up")

    waiting = asyncio.create_task(renewals.run(renew()))
    await begun.wait()
    await renewals.close()
    assert told == ["given up"]
    await asyncio.gather(waiting, return_exceptions=True)


async def test_there_are_only_so_many(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folkmoot.tools.mcp.pool.MOST_OF_ONE", 2)
    first, second = pool.connection(A="1"), pool.connection(A="2")
    waiting = [asyncio.create_task(each.call("hang", {}, 60)) for each in (first, second)]
    await asyncio.gather(first.opened(), second.opened())
    with pytest.raises(ToolServerFailed, match="Too many"):
        pool.connection(A="3")
    assert pool.connection("p", A="3").is_usable, "another organisation has its own"
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert pool.connection(A="3").is_usable
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)


async def test_a_server_that_was_started_anew_is_told_from_one_that_failed() -> None:
    with ExitStack() as first:
        address = first.enter_context(running(TOOL_SERVER, "older-http"))
        async with connected(ServerConfiguration("streamable_http", server_url=address)) as connection:
            assert await said(connection, "mcp_add", a=1, b=1) == "2"
            first.close()
            port = address.split(":")[2].partition("/")[0]
            with running(TOOL_SERVER, "older-http", {"TOOL_SERVER_PORT": port}):
                with pytest.raises(SessionEnded):
                    await connection.call("mcp_add", {"a": 1, "b": 1}, 60)
                assert not connection.is_usable
