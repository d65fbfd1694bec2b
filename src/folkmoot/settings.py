"""Folkmoot's own settings, read once from `FOLKMOOT_*` variables and a `.env` file.

Providers keep their own usual variables (`OPENAI_API_KEY`, `OLLAMA_BASE_URL`, …); `models/providers.py` reads those.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from folkmoot.errors import StartupError

ENV_FILE = ".env"
"""Where variables may stand, in the folder that the command is run in."""

Seconds = Annotated[float, Field(gt=0)]


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _host(value: str) -> str:
    """Return a host's name as requests name it.

    >>> _host("Moot.example.org"), _host("[fd00::1]")
    ('moot.example.org', 'fd00::1')
    """
    name = value.lower().removeprefix("[").removesuffix("]")
    if re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) is None:
        try:
            ipaddress.ip_address(name)
        except ValueError as error:
            raise ValueError(
                f"{value!r} is no host; write a name such as moot.example.org or *.example.org, or an address, "
                "without scheme and port"
            ) from error
    return name


def _origin(value: str) -> str:
    """Return a web page's origin as browsers send it.

    >>> _origin("HTTPS://App.example.org/")
    'https://app.example.org'
    """
    origin = value.lower().removesuffix("/")
    if (
        origin != "*"
        and re.fullmatch(r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?", origin)
        is None
    ):
        raise ValueError(f"{value!r} is no origin; write scheme, host and port such as http://localhost:3000, or *")
    return origin


def _network(value: str) -> str:
    ipaddress.ip_network(value)
    return value


def _trace(value: Any) -> Any:
    """Return which traces are kept, also by the yes and no that this setting was before."""
    words = str(value).lower()
    return {"true": "all", "1": "all", "yes": "all", "on": "all", "false": "off", "0": "off", "no": "off"}.get(
        words, words
    )


Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_split)]


PREFIX = "FOLKMOOT_"
"""What every setting's variable begins with."""

_RETIRED: Mapping[str, str] = {
    "LETTA_SERVER_PASSWORD": "FOLKMOOT_API_KEY",
    **dict.fromkeys(("LETTA_PG_URI", "LETTA_PG_HOST", "LETTA_PG_DB"), "FOLKMOOT_DATABASE"),
    "LETTA_PG_POOL_SIZE": "FOLKMOOT_DATABASE_CONNECTIONS",
    "LETTA_UVICORN_WORKERS": "FOLKMOOT_WORKERS",
    "LETTA_OTEL_EXPORTER_OTLP_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",
}
"""Variables of the retired server, each with the one that says the same here."""

_SECRET_IN_QUERY = re.compile(r"([?&][^=&#]*(?:pass|key|token|secret)[^=&#]*=)[^&#]+", re.IGNORECASE)


USUAL_ADDRESS = "http://localhost:8283"
"""Where the commands look for the running server, unless they are told of another place."""


class Settings(BaseSettings):
    """What can be set; each field is the variable `FOLKMOOT_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on; any other than loopback needs an API key.")
    port: int = Field(8283, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    workers: int = Field(
        1, ge=1, le=64, description="Server processes on this machine; more than one needs PostgreSQL."
    )
    data: Path = Field(Path("~/.folkmoot"), description="Folder of the embedded database.")
    database: str | None = Field(
        None,
        description="`sqlite:///path` or `postgresql://…`; the embedded database in the data folder when unset.",
    )
    database_connections: int = Field(
        21, ge=5, le=1000, description="Connections that a server process opens to PostgreSQL at most."
    )
    api_key: SecretStr | None = Field(
        None, description="The first admin's key, a bearer token; with it, requests need a key."
    )
    url: str | None = Field(None, description="Address of the running server that the commands speak to.")
    secret_key: SecretStr | None = Field(
        None, description="Key that agents' secrets are encrypted with; a file in the data folder when unset."
    )
    insecure: bool = Field(False, description="Listen on a public address without an API key.")
    allowed_hosts: Hosts = Field(
        (),
        description="Names, separated by commas, that the server also answers under; `*.example.org` for all below it.",
    )
    allowed_origins: Origins = Field(
        (), description="Origins, separated by commas, whose pages may use the API; `*` for all who have the key."
    )
    trusted_proxies: Networks = Field(
        (),
        description="Addresses or networks, separated by commas, of proxies whose `X-Forwarded-` headers are believed.",
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe log line shown.")

    default_model: str | None = Field(
        None, description="Handle of the model for agents that name none, such as `openai/gpt-4o-mini`."
    )
    default_embedding: str | None = Field(
        None,
        description="Handle of the model for archives and folders that name none: `openai/text-embedding-3-small`.",
    )
    context_window: int = Field(
        128_000,
        ge=1024,
        description="Tokens, for a model whose provider tells no window and that is not a known one.",
    )
    context_messages: int = Field(
        500,
        ge=20,
        description="Messages in a context at most, however short; the oldest are summarised and stay searchable.",
    )
    model_timeout: Seconds = Field(120.0, description="Seconds to wait for one answer of a model.")
    sleeptime_idle: Seconds = Field(
        300.0, description="Seconds without a turn after which sleep-time agents work on what was said since."
    )
    model_retries: int = Field(2, ge=0, le=10, description="Retries of a model call that failed in a passing way.")

    prices: Path | None = Field(
        None, description="File of models' prices, JSON, before those that come with Folkmoot; for the costs of runs."
    )

    search_url: str | None = Field(None, description="Address of a SearXNG server for `web_search`.")
    search_folder: Path | None = Field(
        None,
        description="Folder of .md and .txt files for the offline `web_search`; a few shipped ones when unset.",
    )

    private_webpages: bool = Field(False, description="Let `fetch_webpage` read private and loopback addresses.")

    private_providers: bool = Field(
        False, description="Let a provider that is added through the API have a private or loopback address."
    )
    callback_secret: SecretStr | None = Field(
        None, description="Key that callbacks are signed with; unsigned when unset."
    )
    private_callbacks: bool = Field(False, description="Let a run's callback_url be a private or loopback address.")
    keep_streams: Seconds = Field(
        86_400.0, description="Seconds that a run's stream can be replayed piece by piece; its messages are kept."
    )
    trace: Annotated[Literal["recent", "all", "off"], BeforeValidator(_trace)] = Field(
        "recent",
        description="Keep what model calls were sent and answered, for a step's page and `/v1/steps/{step_id}/trace`: "
        "of `recent` runs, of `all`, or `off`.",
    )
    recent_traces: Seconds = Field(86_400.0, description="Seconds that such a trace is kept with `recent`.")
    recent_traces_size: int = Field(
        50_000_000,
        ge=0,
        description="Characters of all such traces of an organisation with `recent`; the oldest go first.",
    )
    keep_traces: Seconds = Field(604_800.0, description="Seconds that such a trace is kept with `all`.")
    keep_steps: Seconds = Field(
        7_776_000.0,
        description="Seconds that the figures of a step stay when its run was deleted, and that deletions are told.",
    )
    keep_jobs: Seconds = Field(604_800.0, description="Seconds that a job which is over stays listed.")
    tool_timeout: Seconds = Field(120.0, description="Seconds a tool may take.")
    tool_sandbox: Literal["strict", "trusted", "off"] = Field(
        "strict",
        description="`strict` runs code behind walls or not at all, `trusted` without any, as the server, `off` never.",
    )
    tool_limits: str = Field("", description="What code may use at most, where other than usual: `memory=1000000000`.")
    tool_calls: int | None = Field(None, ge=1, description="Calls of code at once; twice the processors when unset.")
    tool_private_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Hosts, separated by commas, that code may be let reach though they have no public address.",
    )
    tool_packages_size: int = Field(
        5_000_000_000, ge=0, description="Bytes of the packages installed for code; the longest unused go first."
    )
    keep_tool_packages: Seconds = Field(
        1_209_600.0, description="Seconds that packages installed for code are kept without being used."
    )
    mcp_stdio: Literal["admin", "off"] = Field(
        "admin",
        description="Who may add MCP servers that are programs of this machine: `admin`s of the first organisation, "
        "or nobody (`off`); with `off`, none is started either.",
    )
    private_mcp_servers: bool = Field(False, description="Let an MCP server's URL be a private or loopback address.")
    mcp_idle: Seconds = Field(
        300.0, description="Seconds after its last use that a connection to an MCP server is kept."
    )
    agent_timeout: Seconds = Field(600.0, description="Seconds an agent waits for the answer of another one.")
    max_steps: int = Field(50, ge=1, description="Model calls in one turn, when the request sets no max_steps.")
    max_body: int = Field(10_000_000, ge=1000, description="Bytes of a request's body.")
    max_file: int = Field(100_000_000, ge=1000, description="Bytes of an uploaded file.")
    request_timeout: Seconds = Field(
        30.0,
        description="Seconds for a request's head, each further 64 KiB of its body, and for a client to read as much.",
    )
    max_connections: int = Field(2000, ge=1, description="Clients' connections of a process; more are answered 503.")
    store_wait: Seconds = Field(10.0, description="Seconds a request waits for the database before it is told 503.")
    shutdown_wait: Seconds = Field(
        20.0, description="Seconds that requests in flight and background runs get to finish at shutdown."
    )

    @property
    def database_url(self) -> str:
        """The database's address: the one that was set, else the embedded database in the data folder."""
        return self.database or f"sqlite:///{self.data_folder / 'folkmoot.sqlite3'}"

    @property
    def data_folder(self) -> Path:
        """The folder of the embedded database and the secrets' key.

        Raises:
            StartupError: it is to be in the user's home folder, and there is none.
        """
        try:
            return self.data.expanduser().absolute()  # programs behind walls start in folders of their own
        except RuntimeError as error:
            raise StartupError(f"{self.data}: this user has no home folder. Set FOLKMOOT_DATA, or HOME.") from error


def read_settings(options: Mapping[str, Any]) -> Settings:
    """Return the settings.

    Raises:
        StartupError: a value cannot be used; the message names it.
    """
    try:
        return Settings(**options)
    except ValidationError as error:
        problems = "; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise StartupError(f"A setting cannot be used: {problems}.") from error


def check_temporary_folder() -> None:
    """Find the folder of this process's temporary files, as Python does: TMPDIR, /tmp, /var/tmp, where it was started.

    Raises:
        StartupError: none of them can be written, as in a container whose root is read-only.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StartupError(
            "No folder for temporary files can be written; uploads, documents and servers of tools need one. "
            "Mount one at /tmp (docker run --tmpfs /tmp), or set TMPDIR."
        ) from error


def unknown_variables(environ: Mapping[str, str]) -> Mapping[str, str | None]:
    """Return the variables that look like settings and are none, each with the setting that is nearest, if any is.

    >>> dict(unknown_variables({"FOLKMOOT_API_KYE": "k", "FOLKMOOT_PORT": "1", "FOLKMOOT_MOON": "full"}))
    {'FOLKMOOT_API_KYE': 'FOLKMOOT_API_KEY', 'FOLKMOOT_MOON': None}
    """
    known = [name.upper() for name in Settings.model_fields]
    unknown = {}
    for variable in sorted(environ):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.75)
            unknown[variable] = PREFIX + near[0] if near else None
    return unknown


def retired_variables(environ: Mapping[str, str], options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return what was set for the retired server and nobody reads here, each with what to set, unless that is set too.

    Args:
        environ: the variables.
        options: settings from the command line.

    >>> dict(retired_variables({"LETTA_SERVER_PASSWORD": "k", "LETTA_PG_URI": "a"}, {"database": "b"}))
    {'LETTA_SERVER_PASSWORD': 'FOLKMOOT_API_KEY'}
    """
    options_given = {f"{PREFIX}{name.upper()}" for name, value in options.items() if value is not None}
    given = {name.upper() for name in environ} | options_given
    return {old: new for old, new in _RETIRED.items() if environ.get(old) and new not in given}


def read_environ() -> Mapping[str, str]:
    """Return the environment's variables, and behind them those of the `.env` file: the providers' keys among them."""
    return {**{name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}, **os.environ}


def without_password(url: str) -> str:
    """Return an address, such as a database's, as it may be shown: without its password, also one in its query.

    >>> without_password("postgresql://ada:secret@db/moot"), without_password("postgresql://db/moot?password=secret")
    ('postgresql://ada:…@db/moot', 'postgresql://db/moot?password=…')
    """
    scheme, separator, rest = _SECRET_IN_QUERY.sub(r"\1…", url).partition("://")
    user, at, place = rest.rpartition("@")
    if not at:
        return f"{scheme}{separator}{rest}"
    return f"{scheme}{separator}{user.partition(':')[0]}:…@{place}"
