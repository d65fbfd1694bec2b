"""Members: who from elsewhere reaches which block; other keys; users who have none; making one and revoking it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.access.keys import Key, create_key, list_keys, revoke_key
from folkmoot.access.users import list_users
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import agent_names
from folkmoot.archives.archives import ArchiveFilter, list_archives
from folkmoot.errors import FolkmootError
from folkmoot.memory.listing import reachable_blocks
from folkmoot.server.grants import labels_for, read_grants
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.access import CreateKey
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code
from folkmoot.web.colours import read_palette
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.namesakes import told_apart
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, Row, as_file
from folkmoot.web.words import iso

router = page_router()

COLUMNS = (
    *("id", "name", "role", "blocks", "archives", "agents", "prefix"),
    *("created_at", "last_used_at", "revoked_at", "expires_at"),
)

OFFERED = 100
"""Blocks, archives, and agents, that the form offers."""


@router.get("/members")
async def list_all(request: Request, scan: Scan, kind: Format = None) -> Response:
    """List members and other keys, with the form for a new member; as a file where one is asked for."""
    if kind:
        return await scan(_rows, partial(as_file, "members", kind, COLUMNS))
    return await _page(request, scan)


async def _rows(transaction: Transaction) -> list[Row]:
    """Return all keys, the newest first, as rows of a file."""
    keys = await list_keys(transaction)
    labels = await labels_for(transaction, keys)
    names = await agent_names(transaction, [agent_id for key in keys if key.grants for agent_id in key.grants.agents])

    def reached(key: Key, kind: Literal["blocks", "archives"]) -> str:
        granted: Mapping[str, str] = getattr(key.grants, kind) if key.grants is not None else {}
        return ", ".join(f"{labels.get(each, each)}:{access}" for each, access in granted.items())

    def moment(at: int | None) -> str | None:
        return None if at is None else iso(at)

    return [
        {
            "id": key.id,
            "name": key.name,
            "role": key.role if key.grants is None else "member of what is named",
            "blocks": reached(key, "blocks"),
            "archives": reached(key, "archives"),
            "agents": ", ".join(names.get(each, each) for each in sorted(key.grants.agents)) if key.grants else "",
            "prefix": key.prefix,
            "created_at": iso(key.created_at),
            "last_used_at": moment(key.last_used_at),
            "revoked_at": moment(key.revoked_at),
            "expires_at": moment(key.expires_at),
        }
        for key in reversed(keys)
    ]


@router.post("/members")
async def create(request: Request, state: State) -> Response:
    """Make a member and show its key, this once; or say what is wrong where."""
    form = await read_form(request)
    blocks, archives = _chosen(form, "block "), _chosen(form, "archive ")
    try:
        body = CreateKey.model_validate(
            {
                "name": text_of(form, "name").strip(),
                "blocks": [{"block": each, "access": access} for each, access in blocks.items() if access],
                "archives": [{"archive": each, "access": access} for each, access in archives.items() if access],
                "agents": form.get("agent", []),
            }
        )
        key, secret = await _make(state, body)
    except (ValidationError, FolkmootError) as error:
        named = {"blocks": blocks, "archives": archives, "agents": form.get("agent", [])}
        values = {"name": text_of(form, "name"), **named}
        problems = problems_of(error, ("name",))
        return await _page(request, Scanning(state.store, request), 422, values=values, problems=problems)
    return await _page(request, Scanning(state.store, request), made=key, secret=secret)


@router.post("/members/{key_id}/revoke")
async def revoke(key_id: str, state: State) -> Response:
    """Revoke a key, for good and at once."""
    await state.store.write(lambda transaction: revoke_key(transaction, key_id))
    return redirect("/members")


def _chosen(form: Mapping[str, list[str]], prefix: str) -> dict[str, str]:
    """Return the access that was chosen for each thing of a kind."""
    return {name.removeprefix(prefix): texts[0] for name, texts in form.items() if name.startswith(prefix)}


async def _make(state: ServerState, body: CreateKey) -> tuple[Key, str]:
    async def make(transaction: Transaction) -> tuple[Key, str]:
        grants = await read_grants(transaction, body)
        return await create_key(transaction, body.name, "member", None, state.principal.name, grants)

    return await state.store.write(make)


async def _page(request: Request, scan: Scanning, status: int = 200, **more: Any) -> Response:
    values: dict[str, Any] = {
        "values": {"name": "", "blocks": {}, "archives": {}, "agents": []},
        "problems": {},
        "made": None,
        "secret": "",
        "offered": OFFERED,
        "calls": code.members_calls(),
    }
    return await scan(_read, lambda shown: render(request, "members.html", status, **{**values, **more}, **shown))


async def _read(transaction: Transaction) -> dict[str, Any]:
    keys, now = await list_keys(transaction), clock.now()
    blocks = await reachable_blocks(transaction, None, OFFERED)
    asked = {agent_id for key in keys if key.grants is not None for agent_id in key.grants.agents}
    return {
        "members": [key for key in reversed(keys) if key.grants is not None],
        "others": [key for key in reversed(keys) if key.grants is None],
        "users": [user for user in await list_users(transaction, Page(limit=LARGEST_PAGE)) if not user.prefix],
        "ended": {key.id for key in keys if not key.is_valid(now)},
        "labels": await labels_for(transaction, keys),
        "names": await agent_names(transaction, sorted(asked)),
        "blocks": blocks,
        "apart": await told_apart(transaction, blocks),
        "archives": await list_archives(transaction, ArchiveFilter(), Page(limit=OFFERED)),
        "agents": await list_agents(transaction, AgentFilter(), Page(limit=OFFERED)),
        "palette": await read_palette(transaction),
    }
