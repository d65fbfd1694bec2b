"""Servers of tools on the wire: as `/v1/mcp-servers` shows them, and in the form of the older routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from folkmoot.errors import InvalidInput
from folkmoot.sandbox.reach import MOST_HOSTS
from folkmoot.server.origins import origin_of
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text
from folkmoot.server.wire.tools import ToolRunReply
from folkmoot.tools.mcp.configuration import ServerConfiguration, ServerType
from folkmoot.tools.mcp.listing import ListedTool
from folkmoot.tools.mcp.servers import ToolServer
from folkmoot.tools.tool import ToolResult

MOST_ARGUMENTS = 200
MOST_NAMES = 100
MOST_PATHS = 50

ServerName = Annotated[Text, Field(min_length=1, max_length=200)]
Url = Annotated[Text, Field(min_length=1, max_length=2083)]
Secret = Annotated[Text, Field(max_length=20_000)]
Command = Annotated[Text, Field(min_length=1, max_length=4096)]
Arguments = Annotated[list[Annotated[Text, Field(max_length=20_000)]], Field(max_length=MOST_ARGUMENTS)]
Hosts = Annotated[list[Annotated[Text, Field(max_length=260)]], Field(max_length=MOST_HOSTS)]
Paths = Annotated[list[Annotated[Text, Field(max_length=4096)]], Field(max_length=MOST_PATHS)]
HeaderName = Annotated[Text, Field(min_length=1, max_length=200)]
Values = Annotated[dict[HeaderName, Secret], Field(max_length=MOST_NAMES)]

_FILLED = (
    "may hold `{{ VARIABLE | default }}`, filled from the agent's secrets when a tool is called; it is never shown"
)


class StdioFields(Request):
    """A program of the server's machine that speaks over its standard input and output."""

    command: Command = Field(description="The program; it is started with an empty environment and an empty home.")
    args: Arguments = Field(description="Its arguments; what they name by an absolute path, it may read.")
    env: Values | None = Field(None, description=f"Its environment; a value {_FILLED}.")
    allowed_hosts: Hosts | None = Field(
        None,
        description="Hosts that it may reach, each with `:port` where other than 80 and 443; all public ones if null.",
    )
    readable_paths: Paths | None = Field(None, description="Files and folders that it may read beside its own package.")


class RemoteFields(Request):
    """A server at an address."""

    server_url: Url = Field(description="Its address; a private one has to be allowed by FOLKMOOT_PRIVATE_MCP_SERVERS.")
    auth_header: HeaderName | None = Field(None, description="The header of the token, `Authorization` if left out.")
    auth_token: Secret | None = Field(None, description=f"The token; it {_FILLED}.")
    custom_headers: Values | None = Field(None, description=f"Headers of every request; a value {_FILLED}.")


class CreateStdio(StdioFields):
    """A program."""

    mcp_server_type: Literal["stdio"] = "stdio"


class CreateSse(RemoteFields):
    """A server that speaks the older HTTP with server-sent events."""

    mcp_server_type: Literal["sse"] = "sse"


class CreateStreamableHttp(RemoteFields):
    """A server that speaks streamable HTTP."""

    mcp_server_type: Literal["streamable_http"] = "streamable_http"


class ChangedStdio(Request):
    """What to change of a program; what is left out or null stays."""

    mcp_server_type: Literal["stdio"] = "stdio"
    command: Command | None = None
    args: Arguments | None = None
    env: Values | None = None
    allowed_hosts: Hosts | None = None
    readable_paths: Paths | None = None


class _ChangedRemote(Request):
    server_url: Url | None = None
    auth_header: HeaderName | None = None
    auth_token: Secret | None = None
    custom_headers: Values | None = None


class ChangedSse(_ChangedRemote):
    """What to change of a server; what is left out or null stays, an empty text takes away."""

    mcp_server_type: Literal["sse"] = "sse"


class ChangedStreamableHttp(_ChangedRemote):
    """The same."""

    mcp_server_type: Literal["streamable_http"] = "streamable_http"


_KINDS = {"stdio", "sse", "streamable_http"}


_UNKNOWN_KIND = {
    "custom_error_type": "mcp_server_type",
    "custom_error_message": "the type of an MCP server has to be stdio, sse or streamable_http",
}


def _kind_of(value: Any, field: str = "mcp_server_type") -> str | None:
    """Return which form a configuration has; one that does not say is told by its fields."""
    if not isinstance(value, Mapping):
        return getattr(value, field, None)
    kind = value.get(field)
    if kind is None:
        return "stdio" if {"command", "args", "stdio_config"} & value.keys() else "streamable_http"
    return kind if isinstance(kind, str) and kind in _KINDS else None


def _old_kind_of(value: Any) -> str | None:
    return _kind_of(value, "type")


Created: TypeAlias = Annotated[
    Annotated[CreateStdio, Tag("stdio")]
    | Annotated[CreateSse, Tag("sse")]
    | Annotated[CreateStreamableHttp, Tag("streamable_http")],
    Discriminator(_kind_of, **_UNKNOWN_KIND),
]
Changed: TypeAlias = Annotated[
    Annotated[ChangedStdio, Tag("stdio")]
    | Annotated[ChangedSse, Tag("sse")]
    | Annotated[ChangedStreamableHttp, Tag("streamable_http")],
    Discriminator(_kind_of, **_UNKNOWN_KIND),
]


class CreateServer(Request):
    """A server of tools to add."""

    server_name: ServerName
    config: Created

    def configuration(self) -> ServerConfiguration:
        """Return how it is reached."""
        return _configuration(self.config.mcp_server_type, self.config.model_dump())


class UpdateServer(Request):
    """What to change of a server of tools."""

    server_name: ServerName | None = None
    config: Changed

    def configuration(self, stored: ServerConfiguration) -> ServerConfiguration:
        """Return how the server is reached from now on; secrets that only come back as they were shown stay."""
        return _changed(stored, self.config.mcp_server_type, self.config.model_dump(exclude_none=True))


class OldStdio(StdioFields):
    """A program, in the older form."""

    server_name: ServerName
    type: Literal["stdio"] = "stdio"


class OldSse(RemoteFields):
    """A server with server-sent events, in the older form."""

    server_name: ServerName
    type: Literal["sse"] = "sse"


class OldStreamableHttp(RemoteFields):
    """A server with streamable HTTP, in the older form."""

    server_name: ServerName
    type: Literal["streamable_http"] = "streamable_http"


OldServer: TypeAlias = Annotated[
    Annotated[OldStdio, Tag("stdio")]
    | Annotated[OldSse, Tag("sse")]
    | Annotated[OldStreamableHttp, Tag("streamable_http")],
    Discriminator(_old_kind_of, **_UNKNOWN_KIND),
]


def old_configuration(server: OldStdio | OldSse | OldStreamableHttp) -> ServerConfiguration:
    """Return how a server in the older form is reached."""
    return _configuration(server.type, server.model_dump())


class OldUpdate(_ChangedRemote):
    """What to change of a server, in the older form."""

    server_name: ServerName | None = None
    stdio_config: OldStdio | None = None
    token: Secret | None = None

    def configuration(self, stored: ServerConfiguration) -> ServerConfiguration:
        """Return how the server is reached from now on."""
        if self.stdio_config is not None:
            return _changed(stored, "stdio", self.stdio_config.model_dump(exclude_none=True))
        sent = self.model_dump(exclude_none=True)
        if self.token is not None:
            sent.setdefault("auth_token", self.token)
        return _changed(stored, stored.server_type, sent)


def _configuration(server_type: ServerType, sent: Mapping[str, Any]) -> ServerConfiguration:
    fields = ServerConfiguration.__dataclass_fields__
    given = {name: value for name, value in sent.items() if name in fields and value is not None}
    return ServerConfiguration(**{**given, "server_type": server_type})


def _changed(stored: ServerConfiguration, server_type: ServerType, sent: Mapping[str, Any]) -> ServerConfiguration:
    """Return a configuration with what was sent; of another type it begins anew."""
    kept = {} if (stored.server_type == "stdio") != (server_type == "stdio") else _fields_of(stored)
    changed = _configuration(server_type, {**kept, **sent})
    if stored.server_url and changed.server_url and not _is_same_server(stored.server_url, changed.server_url):
        _check_secrets_sent(sent)  # what was kept for one server is not sent to another
        return _configuration(server_type, {**kept, **dict.fromkeys(_SECRETS), **sent})
    return changed.with_secrets_of(stored)


def _is_same_server(one: str, other: str) -> bool:
    return one == other or (origin_of(one) is not None and origin_of(one) == origin_of(other))


_SECRETS = ("auth_token", "custom_headers")


def _check_secrets_sent(sent: Mapping[str, Any]) -> None:
    """Refuse a secret that only comes back as it was shown.

    Raises:
        InvalidInput: it would have to be kept.
    """
    for name in _SECRETS:
        value = sent.get(name)
        values = value.values() if isinstance(value, Mapping) else [value]
        if any(isinstance(each, str) and "***" in each for each in values):
            raise InvalidInput(f"{name}: the server is at another address now, so say it anew or leave it out.")


def _fields_of(stored: ServerConfiguration) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in ServerConfiguration.__dataclass_fields__}


class ServerReply(Reply):
    """A server of tools; its secrets are shown as `***`."""

    id: str
    server_name: str
    mcp_server_type: ServerType
    command: str | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    allowed_hosts: list[str] | None = None
    readable_paths: list[str] | None = None
    server_url: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: dict[str, str] | None = None


def show_server(server: ToolServer, *, to_admin: bool) -> dict[str, Any]:
    """Return a server with the fields of its type, and what only admins are shown of them."""
    configuration = server.configuration
    return {
        "mcp_server_type": configuration.server_type,
        **configuration.shown(to_admin=to_admin),
        "id": server.id,
        "server_name": server.name,
    }


def show_old_server(server: ToolServer, *, to_admin: bool) -> dict[str, Any]:
    """Return a server in the older form."""
    shown = server.configuration.shown(to_admin=to_admin)
    return {"server_name": server.name, "type": server.configuration.server_type, **shown}


def show_listed(listed: Sequence[ListedTool]) -> list[dict[str, Any]]:
    """Return tools as their server lists them, each with how sound its schema is."""
    return [{**tool.raw, "health": {"status": tool.status, "reasons": list(tool.reasons)}} for tool in listed]


class RunTool(Request):
    """A call of a tool."""

    args: JsonObject = Field({}, description="The arguments, as the tool's schema has them.")


def show_call(result: ToolResult) -> ToolRunReply:
    """Return what a call came to: as text, also where it failed."""
    return ToolRunReply(status="error" if result.failed else "success", func_return=result.text)


class OldRunReply(Reply):
    """What a call of a tool came to, in the older form."""

    result: str
    success: bool
