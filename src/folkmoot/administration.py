"""`folkmoot keys` and `folkmoot organizations`: asked of the running server, or of the database where none runs.

Both ways are the same requests: without a server, this process answers them itself.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx2
from pydantic import SecretStr

from folkmoot.errors import ProxyUnusable, StartupError
from folkmoot.outbound.proxies import client_for
from folkmoot.settings import USUAL_ADDRESS, Settings, read_settings

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
LONGEST = timedelta(days=36_500)

ANSWER_SECONDS = 60.0


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


def run(command: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> int:
    """Run a command of this module and return the process's exit code."""
    try:
        asyncio.run(_with_client(command, *arguments))
    except (StartupError, ProxyUnusable) as error:
        return _failed(error.message)
    except Refused as error:
        return _failed(str(error))
    return 0


def read_grants(
    blocks: Sequence[str] | None, archives: Sequence[str] | None, agents: Sequence[str] | None
) -> dict[str, Any]:
    """Return what a member's key is to reach, as the API takes it.

    Args:
        blocks: each a label or an identifier, with `:write`, `:append` or `:read` behind it; without it is `:write`.
        archives: the same with names; without an access it is `:read`.
        agents: each a name or an identifier.

    >>> read_grants(["organization:append", "notes"], ["library"], None)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'blocks': [{'block': 'organization', 'access': 'append'}, {'block': 'notes', 'access': 'write'}],
     'archives': [{'archive': 'library', 'access': 'read'}]}
    """
    grants: dict[str, Any] = {}
    for kind, named, usual in (("block", blocks, "write"), ("archive", archives, "read")):
        if named:
            parts = [re.fullmatch(r"(.+?)(?::(write|append|read))?", each, re.DOTALL) for each in named]
            grants[f"{kind}s"] = [{kind: part[1], "access": part[2] or usual} for part in parts if part is not None]
    if agents:
        grants["agents"] = list(agents)
    return grants


CLOSED = "From now on this server asks everybody for a key."
NOBODY_ADMINISTERS = (
    "This is no admin's: to make one, start the server with FOLKMOOT_API_KEY, "
    "or run `folkmoot keys create` while it is stopped."
)


async def create_key(
    client: httpx2.AsyncClient,
    name: str,
    role: str,
    expires: str | None,
    organization: str | None,
    user: str | None,
    grants: Mapping[str, Any],
) -> None:
    """Make a key and show it, alone on the last line."""
    body = {"name": name, "role": role, "organization": organization, "user": user, **grants}
    if expires is not None:
        body["expires_at"] = (datetime.now(UTC) + duration("--expires", expires)).isoformat()
    made = await _ask(client, "POST", "/v1/keys", body)
    if "authorization" not in client.headers and (await client.get("/v1/keys")).status_code == HTTPStatus.UNAUTHORIZED:
        _note(CLOSED if made["role"] == "admin" else f"{CLOSED} {NOBODY_ADMINISTERS}")
    until = f"until {made['expires_at']}" if made["expires_at"] else "until it is revoked"
    _tell(f"Key {made['id']}, {made['name']!r}, {made['role']} of {made['organization_id']}, lasts {until}.")
    if made["blocks"] is not None:
        _tell(f"It reaches: {_reach(made)}.")
    _tell("It is shown this once:")
    _tell(made["key"])


async def list_keys(client: httpx2.AsyncClient, organization: str | None) -> None:
    """Show an organisation's keys."""
    keys = await _ask(client, "GET", "/v1/keys", None, _of(organization))
    rows = [
        (
            key["id"],
            key["prefix"] + "…",
            key["name"],
            key["role"],
            _state(key),
            key["last_used_at"] or "never used",
            _reach(key),
        )
        for key in keys
    ]
    _table(("id", "key", "name", "role", "lasts", "last use", "reaches"), rows)


async def revoke_key(client: httpx2.AsyncClient, key_id: str, organization: str | None) -> None:
    """Revoke a key."""
    key = await _ask(client, "DELETE", f"/v1/keys/{_segment(key_id)}", None, _of(organization))
    _tell(f"Key {key['id']}, {key['name']!r}, is revoked.")


async def create_organization(client: httpx2.AsyncClient, name: str) -> None:
    """Make an organisation and show its identifier, alone on the last line."""
    made = await _ask(client, "POST", "/v1/organizations", {"name": name})
    _tell(f"Organisation {made['name']!r} is there. Give it a key: folkmoot keys create NAME --organization …")
    _tell(made["id"])


async def list_organizations(client: httpx2.AsyncClient) -> None:
    """Show all organisations."""
    found = await _ask(client, "GET", "/v1/organizations")
    _table(("id", "name", "created"), [(each["id"], each["name"], each["created_at"] or "always") for each in found])


async def delete_organization(client: httpx2.AsyncClient, organization: str) -> None:
    """Delete an organisation with everything that it has."""
    gone = await _ask(client, "DELETE", f"/v1/organizations/{_segment(organization)}")
    counts = ", ".join(f"{count} of {table}" for table, count in sorted(gone["deleted_rows"].items()))
    _tell(f"Organisation {gone['id']}, {gone['name']!r}, is deleted. Rows: {counts}.")


def duration(option: str, text: str) -> timedelta:
    """Return the time that a text such as `90d` names, which was given for an option.

    Raises:
        Refused: it names none.

    >>> duration("--expires", "90d"), duration("--since", "12h")
    (datetime.timedelta(days=90), datetime.timedelta(seconds=43200))
    """
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is None or not timedelta(0) < (found := int(match[1]) * UNITS[match[2]]) <= LONGEST:
        raise Refused(f"{option}: {text!r} is no time; write a number and m, h, d or w, such as 90d.")
    return found


async def _with_client(command: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    settings = read_settings({})
    async with _client(settings) as client:
        await command(client, *arguments)


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of the running server, or of the database where none runs.

    Raises:
        StartupError: the database cannot be opened; a server that is elsewhere has its lock, perhaps.
        Refused: no server is at the address that was set.
    """
    address = settings.url or USUAL_ADDRESS
    headers = _bearer(settings.api_key)
    async with client_for(
        address, httpx2.AsyncClient, base_url=address, headers=headers, timeout=ANSWER_SECONDS
    ) as client:
        try:
            await client.get("/v1/health")
        except httpx2.TransportError as error:
            if settings.url is not None:
                raise Refused(f"No server answers at {address} (FOLKMOOT_URL): {error}.") from error
        else:
            _note(f"Asking the server at {address}.")
            yield client
            return
    async with _own_client(settings) as client:
        yield client


@asynccontextmanager
async def _own_client(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """Give a client of this process, which has the database to itself or shares it as further servers do.

    Who can open the database needs no key: the requests carry one that was made for them.
    """
    from folkmoot.application import create_app

    key = SecretStr(secrets.token_urlsafe(32))
    try:
        application = create_app(settings.model_copy(update={"api_key": key}), {})
        async with application.router.lifespan_context(application):
            _note("No server answers; asking the database itself.")
            transport = httpx2.ASGITransport(application)
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://localhost", headers=_bearer(key), timeout=ANSWER_SECONDS
            ) as client:
                yield client
    except StartupError as error:
        raise StartupError(
            f"{error.message} No server answers at {USUAL_ADDRESS}; if one runs elsewhere, name it with FOLKMOOT_URL."
        ) from error


async def _ask(
    client: httpx2.AsyncClient,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
) -> Any:
    try:
        response = await client.request(method, path, json=body, params=query)
    except httpx2.TransportError as error:
        raise Refused(f"The server did not answer: {error or type(error).__name__}.") from error
    if response.is_success:
        return response.json()
    detail = response.json().get("detail") if "json" in response.headers.get("content-type", "") else response.text
    hint = " Set FOLKMOOT_API_KEY to an admin's key." if response.status_code in (401, 403) else ""
    raise Refused(f"{detail}{hint}")


def _bearer(key: SecretStr | None) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.get_secret_value().encode()} if key is not None else {}


def _of(organization: str | None) -> dict[str, str]:
    return {"organization": organization} if organization is not None else {}


def _segment(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def _state(key: Mapping[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {key['revoked_at']}"
    return f"until {key['expires_at']}" if key["expires_at"] else "until revoked"


def _reach(key: Mapping[str, Any]) -> str:
    """Return in words what a key reaches."""
    if key["blocks"] is None:
        return "everything that its role may"
    blocks = [f"{block['label'] or block['id']}:{block['access']}" for block in key["blocks"]]
    archives = [f"{archive['name'] or archive['id']}:{archive['access']}" for archive in key["archives"]]
    return ", ".join([*blocks, *archives, *key["agents"]]) or "nothing"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        _tell("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _tell(text: str) -> None:
    print(text)  # noqa: T201 - this is the terminal


def _note(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - this is the terminal


def _failed(message: str) -> int:
    print(f"folkmoot: {message}", file=sys.stderr)  # noqa: T201 - this is the terminal
    return 1
