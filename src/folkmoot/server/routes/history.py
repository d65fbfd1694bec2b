"""A block's history: versions, blame, revert, readers, and watching it go on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Header, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.errors import InvalidInput, NotFound
from folkmoot.memory.blocks import find_block, revert_block
from folkmoot.memory.edits import Revert
from folkmoot.memory.history import (
    MOST_LINES,
    Reader,
    Version,
    WrittenLine,
    blame_block,
    find_version,
    list_readers,
    list_versions,
)
from folkmoot.memory.watch import Gone, MemoryEvent, NewVersion, Snapshot, watch_agent, watch_block
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.blocks import (
    BlameReply,
    BlockReply,
    ExpectedVersion,
    ReaderReply,
    RevertBlock,
    VersionChangeReply,
    VersionReply,
    VersionTextReply,
    version_header,
)
from folkmoot.server.wire.common import AgentId, BlockId, Number, Order, json_response
from folkmoot.store.engine import Transaction, Work
from folkmoot.store.paging import LARGEST_PAGE

router = APIRouter(prefix="/v1/blocks/{block_id}", tags=["shared memory"], route_class=BodyRoute)
agent_router = APIRouter(prefix="/v1/agents/{agent_id}/core-memory", tags=["shared memory"], route_class=BodyRoute)

Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
LastEventId = Annotated[str | None, Header(description="The last event that was seen; the stream goes on behind it.")]


@router.get("/history", response_model=list[VersionReply])
async def list_history(
    block_id: BlockId,
    state: State,
    limit: Limit = 50,
    after: Number | None = None,
    before: Number | None = None,
    order: Order = "desc",
) -> Response:
    """List the block's versions, the newest first; `after` and `before` are version numbers."""

    async def read(transaction: Transaction) -> list[Version]:
        await find_block(transaction, block_id)
        return await list_versions(transaction, block_id, limit, after=after, before=before, ascending=order == "asc")

    return json_response([VersionReply.of(version) for version in await state.store.read(read)])


@router.get("/history/{version}", response_model=VersionTextReply)
async def retrieve_version(block_id: BlockId, version: Number, scan: Scan) -> Response:
    """Return one version with its text."""
    return await scan(_version_of(block_id, version), lambda found: json_response(VersionTextReply.with_text(*found)))


@router.get("/blame", response_model=BlameReply)
async def blame(
    block_id: BlockId,
    state: State,
    scan: Scan,
    version: Number | None = None,
    after: Annotated[Number, Query(description="Return the lines behind this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="How many lines to return.")] = MOST_LINES,
) -> Response:
    """Return who wrote each line, at which version; of an earlier version when one is named."""

    async def read(transaction: Transaction) -> int:
        block = await find_block(transaction, block_id)
        if version is not None and not 1 <= version <= block.version:
            raise NotFound(f"Block {block_id} has no version {version}.")
        return version or block.version

    last = await state.store.read(read)

    def show(lines: Sequence[WrittenLine], count: int) -> Response:
        return json_response(BlameReply.of(block_id, last, lines, after, count))

    return await scan.while_here(blame_block(state.store, block_id, last, show, after, limit))


@router.post("/revert", response_model=BlockReply)
async def revert(block_id: BlockId, body: RevertBlock, expected: ExpectedVersion, state: State, scan: Scan) -> Response:
    """Make an earlier version's text the text again, as a new version."""
    # A version never changes, so that its text may be told before the block is locked.
    edit = await scan(_version_of(block_id, body.version), lambda found: Revert(found[0].number, found[1]))
    block = await state.store.write(
        lambda transaction: revert_block(transaction, block_id, edit, state.author, expected)
    )
    return json_response(BlockReply.of(block), version_header(block.version))


@router.get("/readers", response_model=list[ReaderReply])
async def readers(
    block_id: BlockId, state: State, version: Number | None = None, limit: Limit = 50, after: str | None = None
) -> Response:
    """List the steps whose model was shown a version, the current one unless another is named."""

    async def read(transaction: Transaction) -> list[Reader]:
        block = await find_block(transaction, block_id)
        return await list_readers(transaction, block_id, version or block.version, limit, after)

    return json_response([ReaderReply.of(reader) for reader in await state.store.read(read)])


@router.get("/watch", response_class=EventStream)
async def watch(block_id: BlockId, state: State, changes: bool = False, last_event_id: LastEventId = None) -> Response:
    """Stream the block as it is, then each new version as it commits; with `changes` what differs, not the text."""
    seen = _version(last_event_id)
    await state.store.read(lambda transaction: find_block(transaction, block_id))
    return EventStream(_block_events(watch_block(state.store, block_id, seen), changes=changes), endless=True)


@agent_router.get("/watch", response_class=EventStream)
async def watch_memory(
    agent_id: AgentId, state: State, changes: bool = False, last_event_id: LastEventId = None
) -> Response:
    """Stream the agent's blocks as they are, then each new version of any of them, as a block's watch does."""
    seen = _versions(last_event_id)
    await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    events = watch_agent(state.store, agent_id, seen)
    return EventStream(_memory_events(events, dict(seen or {}), changes=changes), endless=True)


def _version_of(block_id: str, version: int) -> Work[tuple[Version, str]]:
    async def read(transaction: Transaction) -> tuple[Version, str]:
        await find_block(transaction, block_id)
        return await find_version(transaction, block_id, version)

    return read


async def _block_events(events: AsyncIterator[MemoryEvent], *, changes: bool) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(events) as open_events:  # type: ignore[type-var]
        async for event in open_events:
            match event:
                case Snapshot(blocks):
                    block = blocks[0][0]
                    yield ServerSentEvent(_json(BlockReply.of(block)), "snapshot", str(block.version))
                case NewVersion(_, version):
                    yield ServerSentEvent(_shown(event, changes), "version", str(version.number))
                case Gone(block_id):
                    yield ServerSentEvent(json.dumps({"id": block_id}).encode(), "deleted")


async def _memory_events(
    events: AsyncIterator[MemoryEvent], told: dict[str, int], *, changes: bool
) -> AsyncIterator[ServerSentEvent]:
    """Encode an agent's events; the id of each tells the version of every block that has been told."""
    async with aclosing(events) as open_events:  # type: ignore[type-var]
        async for event in open_events:
            match event:
                case Snapshot(blocks):
                    told = {block.id: block.version for block, _ in blocks}
                    shown = [BlockReply.of(block, access).model_dump(mode="json") for block, access in blocks]
                    yield ServerSentEvent(json.dumps({"blocks": shown}).encode(), "snapshot", _position(told))
                case NewVersion(block_id, version):
                    told[block_id] = version.number
                    data = b'{"block_id":%b,%b' % (json.dumps(block_id).encode(), _shown(event, changes)[1:])
                    yield ServerSentEvent(data, "version", _position(told))
                case Gone(agent_id):
                    yield ServerSentEvent(json.dumps({"id": agent_id}).encode(), "deleted")


_encoded: WeakKeyDictionary[NewVersion, dict[bool, bytes]] = WeakKeyDictionary()


def _shown(event: NewVersion, changes: bool) -> bytes:
    """Return a version as JSON, which is written once for all who are told the same one."""
    forms = _encoded.setdefault(event, {})
    if changes not in forms:
        version = event.version
        forms[changes] = _json(
            VersionChangeReply.with_change(version, event.change)
            if changes
            else VersionTextReply.with_text(version, event.text)
        )
    return forms[changes]


def _json(reply: BlockReply | VersionReply) -> bytes:
    return reply.model_dump_json().encode()


def _version(last_event_id: str | None) -> int | None:
    if last_event_id is None or not last_event_id.strip():
        return None
    if not last_event_id.strip().isdecimal() or len(last_event_id) > 9:
        raise InvalidInput(f"Last-Event-ID: {last_event_id!r} is not the id of an event of this stream.")
    return int(last_event_id)


def _position(told: dict[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).decode()


def _versions(last_event_id: str | None) -> dict[str, int] | None:
    if last_event_id is None or not last_event_id.strip():
        return None
    try:
        told: Any = json.loads(base64.urlsafe_b64decode(last_event_id))
        return {str(block_id): int(version) for block_id, version in told.items()}
    except (ValueError, RecursionError, AttributeError, TypeError, binascii.Error) as error:
        raise InvalidInput(f"Last-Event-ID: {last_event_id!r} is not the id of an event of this stream.") from error
