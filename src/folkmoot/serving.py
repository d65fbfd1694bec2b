"""Run the server in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from folkmoot import __version__, logs, tracing
from folkmoot.application import create_app
from folkmoot.errors import StartupError, StoreError
from folkmoot.models.providers import Provider, configured, install_command, is_installed
from folkmoot.outbound.addresses import is_loopback
from folkmoot.sandbox.calls import Walls
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.server.connections import Connection, make_room
from folkmoot.server.event_stream import end_endless_streams
from folkmoot.settings import (
    Settings,
    check_temporary_folder,
    read_environ,
    read_settings,
    retired_variables,
    unknown_variables,
    without_password,
)
from folkmoot.store.opening import open_store

SWITCH_SECONDS = 0.0005
"""How long a reader's thread keeps the interpreter while the event loop wants it; Python's own 5 ms add up."""

REST_SECONDS = 75
"""How long a connection is kept between two requests. Clients' pools (httpx: 5 s) and proxies (60 s) must let go of it
first: who sends a request while the server closes finds the connection reset."""

FAREWELL_SECONDS = 3.0
"""How long what was stopped at the end of `FOLKMOOT_SHUTDOWN_WAIT` may take to say so."""


def serve(options: Mapping[str, Any]) -> int:
    """Serve until SIGINT or SIGTERM, and return the process's exit code.

    Args:
        options: settings from the command line, which come before variables and the `.env` file.
    """
    os.umask(0o077)  # whatever this process and SQLite make is for its owner alone
    try:
        refuse_misspelt(read_environ())
        tell_retired(read_environ(), options)
        settings = read_settings(options)
        check_settings(settings)
        check_temporary_folder()
        listener = listen(settings.host, settings.port)
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})  # 0 has become a real one
        logs.set_up(settings.log_level)
        if settings.workers > 1:
            return _serve_with_workers(settings, listener)
        return uvloop.run(_serve(settings, listener))
    except (StartupError, StoreError) as error:
        print(f"folkmoot: {error.message}", file=sys.stderr)  # noqa: T201 - this is the terminal
        return 1


def refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Refuse a variable that was meant for a setting and is none, such as a key under a name that nobody reads.

    What is like no setting is told, and may be another program's, or another version's.

    Raises:
        StartupError: a variable's name is nearly a setting's.
    """
    for variable, meant in unknown_variables(environ).items():
        if meant is not None:
            raise StartupError(f"{variable} is no setting; did you mean {meant}?")
        print(f"folkmoot: {variable} is no setting of this version.", file=sys.stderr)  # noqa: T201 - this is the terminal


def tell_retired(environ: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Tell which variables of the retired server have no effect, a password for one, and what to set in their place.

    They are not refused: the retired server may run beside this one, or its clients read them.
    """
    for old, new in retired_variables(environ, options).items():
        told = f"folkmoot: {old} was the retired server's and has no effect; set {new} (docs/moving-in.md)."
        print(told, file=sys.stderr)  # noqa: T201 - this is the terminal


def check_settings(settings: Settings) -> None:
    """Refuse settings that do not go together: above all, to listen to the world without a key.

    Raises:
        StartupError: the address is public, there is no key, and nobody said that this is meant; or there shall be
            several processes on SQLite.
    """
    if settings.api_key is not None and not settings.api_key.get_secret_value():
        raise StartupError("FOLKMOOT_API_KEY is empty; set it to a key or leave it out.")
    if settings.workers > 1 and settings.database_url.startswith("sqlite"):
        raise StartupError(
            f"workers: {settings.workers} processes cannot share the embedded SQLite database. "
            "Use --database postgresql://…, or one worker."
        )
    if settings.api_key is None and "*" in settings.allowed_origins:
        raise StartupError(
            "allowed_origins: with * and without a key every page on the internet could read and change everything. "
            "Name the origins, or set FOLKMOOT_API_KEY."
        )
    if settings.api_key is None and not settings.insecure and not is_loopback(settings.host):
        raise StartupError(
            f"host: {settings.host} can be reached by others and there is no key. Set FOLKMOOT_API_KEY, "
            "or say --insecure if everybody may read and change everything."
        )


def _proxies(settings: Settings) -> Mapping[str, Any]:
    """Return uvicorn's options about the proxies whose word on the client's address and scheme is taken."""
    trusted = list(settings.trusted_proxies)
    return {"proxy_headers": bool(trusted), "forwarded_allow_ips": trusted}


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        StartupError: the address or port cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        taken = (
            "Something else listens there; stop it or choose another --port." if error.errno == errno.EADDRINUSE else ""
        )
        raise StartupError(f"Cannot listen on {host}:{port}: {error.strerror}. {taken}".strip()) from error
    listener.setblocking(False)
    return listener


def uvicorn_options(settings: Settings) -> Mapping[str, Any]:
    """Return what uvicorn is told, whoever starts it."""
    most = make_room(settings.max_connections)
    return {
        "access_log": False,
        "log_level": "warning",
        "timeout_keep_alive": REST_SECONDS,
        "http": partial(Connection, timeout=settings.request_timeout, most=most),
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_wait + FAREWELL_SECONDS),
        **_proxies(settings),
    }


class _Server(uvicorn.Server):
    """uvicorn, which a signal stops but does not kill afterwards: a stop that was asked for exits with 0."""

    def __init__(self, application: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._application = application  # uvicorn's own may be wrapped, to read a proxy's headers
        self._told_to_stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Finish what is in flight at the first SIGINT or SIGTERM, give up at the second."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop)
        yield

    async def main_loop(self) -> None:
        """Wake once a second, for the date that answers have, and at once to stop; uvicorn's own looks ten times."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._told_to_stop.wait()

    def _stop(self) -> None:
        begin_to_stop(self._application, at_once=self.should_exit)
        self.should_exit, self.force_exit = True, self.should_exit
        self._told_to_stop.set()


def begin_to_stop(application: FastAPI, *, at_once: bool = False) -> None:
    """End the endless streams, and give runs and requests in flight their time, or none.

    It is one deadline for both: what is left at its end is stopped, and its streams say so.
    """
    end_endless_streams()
    application.state.door.stop()
    server = application.state.server
    server.supervisor.stop_after(0.0 if at_once else server.shared.settings.shutdown_wait)


def _serve_with_workers(settings: Settings, listener: socket.socket) -> int:
    """Serve from several processes on one socket; one that dies is replaced."""
    asyncio.run(_check_database(settings))
    # The processes read the settings anew; what the command line said reaches them as variables.
    for name, value in settings.model_dump(exclude_none=True).items():
        os.environ[f"FOLKMOOT_{name.upper()}"] = _as_variable(value)
    config = uvicorn.Config(
        "folkmoot.serving:worker_app",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        **uvicorn_options(settings),
    )
    announce(settings, listener)
    asyncio.run(_tell_walls(Sandbox(settings.tool_sandbox).walls))  # the processes serve only then
    Multiprocess(config, sockets=[listener]).run()
    return 0


def _as_variable(value: Any) -> str:
    """Return a setting as its variable.

    >>> _as_variable(("a", "b")), _as_variable(SecretStr("key")), _as_variable(True)
    ('a,b', 'key', 'True')
    """
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def worker_app() -> FastAPI:
    """Return the application of one of several server processes."""
    settings = read_settings({})
    logs.set_up(settings.log_level)
    application = create_app(settings)
    open_server = application.router.lifespan_context

    @asynccontextmanager
    async def ending_streams(app: FastAPI) -> AsyncIterator[None]:
        """Let uvicorn's own handler, which is in place by now, end the endless streams first."""
        _spare_the_collector()
        async with open_server(app):
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, _stopping_before(app, signal.getsignal(number)))
            yield

    application.router.lifespan_context = ending_streams
    return application


def _stopping_before(application: FastAPI, handler: Any) -> Callable[[int, Any], None]:
    def handle(number: int, frame: Any) -> None:
        asyncio.get_event_loop().call_soon_threadsafe(begin_to_stop, application)
        handler(number, frame)

    return handle


async def _check_database(settings: Settings) -> None:
    """Migrate the database once before the processes open it.

    Raises:
        StartupError: it cannot be used.
    """
    store = await open_store(settings.database_url, settings.store_wait, settings.database_connections)
    await store.close()


async def _serve(settings: Settings, listener: socket.socket) -> int:
    application = create_app(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    async with application.router.lifespan_context(application):
        server = _Server(application, uvicorn.Config(application, lifespan="off", **uvicorn_options(settings)))
        _spare_the_collector()
        announce(settings, listener)
        telling = asyncio.create_task(_tell_walls(application.state.server.services.sandbox.walls_behind))
        await server.serve(sockets=[listener])
        telling.cancel()
    return 0


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what stays for good, and seldom look at everything: that stops the server."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 500)


@asynccontextmanager
async def serve_within(settings: Settings) -> AsyncIterator[tuple[str, SecretStr]]:
    """Serve the database within a process that does something else, on a free port of the loopback.

    Returns:
        The address, and a key that nobody else knows.

    Raises:
        StartupError: the database cannot be opened.
    """
    logs.set_up(settings.log_level)
    key = SecretStr(secrets.token_urlsafe(32))
    listener = listen("127.0.0.1", 0)
    application = create_app(settings.model_copy(update={"api_key": key, "host": "127.0.0.1"}))
    server = _ServerWithin(uvicorn.Config(application, lifespan="off", log_config=None, **uvicorn_options(settings)))
    async with application.router.lifespan_context(application):
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", key
        finally:
            begin_to_stop(application)
            server.should_exit = True
            await serving


class _ServerWithin(uvicorn.Server):
    """uvicorn, which leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Any:
        """Capture none."""
        yield


def announce(settings: Settings, listener: socket.socket) -> None:
    """Show where the server is, where it keeps things, which models it has, and whether it needs a key."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    providers = ", ".join(map(_as_shown, configured(read_environ())))
    key = "needed (FOLKMOOT_API_KEY)" if settings.api_key is not None else "not needed"
    lines = (
        f"Folkmoot {__version__}",
        f"  address   http://{shown}:{port}",
        f"  store     {without_password(settings.database_url)}",
        f"  models    {providers}",
        f"  API key   {key}",
        *_tracing_line(),
    )
    print("\n".join(lines), flush=True)  # noqa: T201 - this is the terminal


def _tracing_line() -> Iterator[str]:
    """Yield whether spans are recorded, where the variables ask for them."""
    if tracing.is_wanted(os.environ):
        yield f"  tracing   {tracing.why_not(os.environ) or 'on (OpenTelemetry)'}"


def _as_shown(provider: Provider) -> str:
    missing = "" if is_installed(provider) else f" (not installed: {install_command(provider)})"
    return provider.title + missing


async def _tell_walls(try_walls: Callable[[], Awaitable[Walls]]) -> None:
    """Show what is enforced when code is run, once it has been tried."""
    print(f"  sandbox   {(await try_walls()).line}", flush=True)  # noqa: T201 - this is the terminal
