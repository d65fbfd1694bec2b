"""The whole database as one file, to be kept elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from folkmoot.access.organizations import list_organizations
from folkmoot.errors import Forbidden
from folkmoot.server.authorization import authorize
from folkmoot.server.state import ServerState, State
from folkmoot.transfer.backup_stream import stream_backup

PATH = "/v1/backup"

router = APIRouter(tags=["organizations"])


@router.post(PATH, response_class=Response)
async def backup(state: State) -> Response:
    """Return a backup of the whole server, as it is at this moment; for admins of a server with one organisation.

    `folkmoot restore` takes it. It has all texts and the hashes of keys; secrets are in it sealed, their key is not.
    """
    return await download_backup(state)


async def download_backup(state: ServerState) -> Response:
    """Return the backup as a file for a browser to keep.

    Raises:
        Forbidden: the principal is no admin of the default organisation, or there are several, whose data no key
            reaches all.
        Conflict: another backup is under way.
        StoreUnavailable: the database cannot be read.
    """
    authorize(state.principal, "POST", PATH)
    organizations = await state.store.everywhere.read(list_organizations)
    if len(organizations) > 1:
        raise Forbidden(
            f"There are {len(organizations)} organisations here, and a backup has the data of all. Run `folkmoot "
            "backup` on the server."
        )
    pieces = stream_backup(state.services.settings)
    first = await anext(pieces)  # what cannot begin is answered as an error
    name = f"folkmoot-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.folkmoot"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return _Download(first, pieces, headers)


class _Download(StreamingResponse):
    """A stream that ends when its reader goes away."""

    media_type = "application/octet-stream"

    def __init__(self, first: bytes, pieces: AsyncIterator[bytes], headers: dict[str, str]) -> None:
        self._pieces = pieces
        super().__init__(self._all(first), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)

    async def _all(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for piece in self._pieces:
            yield piece
