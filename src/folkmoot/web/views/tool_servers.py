"""Servers of tools: which there are, what they offer, how to add one, to sign in and to let one go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.errors import FolkmootError, InvalidInput, ToolServerFailed
from folkmoot.server.mcp_access import check_may_start, sees_all
from folkmoot.server.routes import mcp_servers as api
from folkmoot.server.routes.mcp_connect import redirect_uri
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.mcp import CreateServer
from folkmoot.store.engine import Transaction
from folkmoot.tools.mcp.servers import find_server, list_servers
from folkmoot.tools.mcp.tools import tools_of_server
from folkmoot.web import code
from folkmoot.web.forms import problems_of, sentence, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render

router = page_router()

PAGE = "/tools/servers"
FIELDS = (
    *("server_name", "server_type", "server_url", "auth_token", "custom_headers"),
    *("command", "args", "env", "allowed_hosts", "readable_paths"),
)
EMPTY: Mapping[str, str] = dict.fromkeys(FIELDS, "") | {"server_type": "streamable_http"}
LONGEST_ADDRESS = 80


@router.get(PAGE)
async def show(request: Request, state: State, ask: str = "") -> Response:
    """List the servers with their tools, and a form for one more; `ask` is the one that is to be removed."""
    return await _page(request, state, asked=ask)


@router.post(PAGE)
async def add(request: Request, state: State) -> Response:
    """Add a server."""
    form = await read_form(request)
    values = {name: text_of(form, name) for name in FIELDS}
    try:
        body = CreateServer.model_validate(_body(values))
        check_may_start(state, body.configuration())
        await state.mcp.create(state.store, body.server_name, body.configuration(), state.author)
    except ValidationError as error:
        return await _page(request, state, 422, values=values, problems=_problems(error))
    except FolkmootError as error:
        return await _page(request, state, error.status, values=values, problems=problems_of(error, FIELDS))
    return redirect(PAGE)


@router.post(PAGE + "/{mcp_server_id}/refresh")
async def refresh(request: Request, mcp_server_id: str, state: State) -> Response:
    """Look at a server's tools anew; what came of it is shown in the list."""
    try:
        changes = await state.mcp.look(state.store, mcp_server_id, {})
    except (ToolServerFailed, InvalidInput):  # which the list tells
        return redirect(PAGE)
    return await _page(request, state, changed=mcp_server_id, changes=api.show_changes(changes))


@router.post(PAGE + "/{mcp_server_id}/connect")
async def connect(request: Request, mcp_server_id: str, state: State) -> Response:
    """Begin to sign in to a server, and show where to go for it."""
    server = await state.store.read(lambda transaction: find_server(transaction, mcp_server_id, state.shared.sealer))
    try:
        address = await state.mcp.begin_sign_in(state.store, server, redirect_uri(request))
    except FolkmootError as error:
        return await _page(request, state, error.status, problems={"": error.message})
    if address is None:
        return redirect(PAGE)
    return await _page(
        request, state, sign_in={"name": server.name, "address": address, "host": urlsplit(address).netloc}
    )


@router.post(PAGE + "/{mcp_server_id}/remove")
async def remove(mcp_server_id: str, state: State) -> Response:
    """Delete a server with its tools."""
    await state.mcp.delete(state.store, mcp_server_id)
    return redirect(PAGE)


async def _page(request: Request, state: ServerState, status: int = 200, **shown: Any) -> Response:
    async def read(transaction: Transaction) -> list[dict[str, Any]]:
        servers = await list_servers(transaction, state.shared.sealer)
        return [
            {
                "server": server,
                "where": _where(server.configuration.shown(to_admin=sees_all(state)))[:LONGEST_ADDRESS],
                "tools": await tools_of_server(transaction, server.id),
            }
            for server in servers
        ]

    values = {"values": EMPTY, "problems": {}, "asked": "", "sign_in": None, "changed": "", "changes": {}}
    rows = await state.store.read(read)
    return render(
        request, "tool_servers.html", status, rows=rows, calls=code.tool_server_calls(), **{**values, **shown}
    )


def _where(shown: Mapping[str, Any]) -> str:
    return str(shown.get("server_url") or " ".join([shown["command"], *shown["args"]]))


def _body(values: Mapping[str, str]) -> dict[str, Any]:
    """Return what the API would be sent."""
    kind = values["server_type"]
    config: dict[str, Any] = {"mcp_server_type": kind}
    if kind == "stdio":
        config |= {
            "command": values["command"],
            "args": _lines(values["args"]),
            "env": _pairs(values["env"], "=", "env"),
            "allowed_hosts": _lines(values["allowed_hosts"]) or None,
            "readable_paths": _lines(values["readable_paths"]) or None,
        }
    else:
        config |= {
            "server_url": values["server_url"],
            "auth_token": values["auth_token"] or None,
            "custom_headers": _pairs(values["custom_headers"], ":", "custom_headers"),
        }
    return {"server_name": values["server_name"], "config": config}


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _pairs(text: str, sign: str, field: str) -> dict[str, str]:
    pairs = [line.partition(sign) for line in text.split("\n") if line.strip()]
    if not all(found for _, found, _ in pairs):
        raise InvalidInput(f"{field}: write one a line, as in NAME{sign} value.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _problems(error: ValidationError) -> dict[str, str]:
    """Return what is wrong by field; those of the configuration stand two levels down."""
    found = problems_of(error, FIELDS)
    for problem in error.errors():
        for part in problem["loc"]:
            if part in FIELDS:
                found.pop("", None)
                found.setdefault(str(part), sentence(problem["msg"]))
    return found
