"""What a member's key is to reach, as people name it: blocks by label, archives and agents by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from folkmoot.access.keys import Key
from folkmoot.access.principals import BlockAccess, Grants
from folkmoot.agents.listing import agents_named
from folkmoot.archives.archives import archives_named, kept_archives
from folkmoot.errors import InvalidInput
from folkmoot.memory.listing import blocks_labelled, labels_of
from folkmoot.server.wire.access import MemberGrants
from folkmoot.store.engine import Transaction


async def read_grants(transaction: Transaction, wanted: MemberGrants, now: Grants | None = None) -> Grants | None:
    """Return what a request names; None when it names nothing, so that the key is no member's.

    Args:
        transaction: where to look names up.
        wanted: what the request says.
        now: what the key reaches already, for what the request leaves out.

    Raises:
        InvalidInput: something that is named is not there, or there are several of that name.
    """
    if wanted.blocks is None and wanted.agents is None and wanted.archives is None:
        return now
    now = now or Grants({})
    blocks = [("block", each.block, each.access) for each in wanted.blocks or ()]
    archives = [("archive", each.archive, each.access) for each in wanted.archives or ()]
    agents: list[tuple[str, str, BlockAccess]] = [("agent", each, "read") for each in wanted.agents or ()]
    found: dict[str, dict[str, BlockAccess]] = {kind: {} for kind in ("block", "archive", "agent")}
    for each in (blocks, archives, agents):
        for place, (kind, name, access) in enumerate(each):
            found[kind][await _only(transaction, kind, place, name)] = access
    return Grants(
        now.blocks if wanted.blocks is None else found["block"],
        now.agents if wanted.agents is None else frozenset(found["agent"]),
        now.archives if wanted.archives is None else found["archive"],
    )


async def labels_for(transaction: Transaction, keys: Iterable[Key]) -> Mapping[str, str]:
    """Return the labels of the blocks and the names of the archives that the keys reach, of those that are there."""
    grants = [key.grants for key in keys if key.grants is not None]
    archives = await kept_archives(transaction, sorted({each for one in grants for each in one.archives}))
    labels = await labels_of(transaction, {each for one in grants for each in one.blocks})
    return {**labels, **{archive.id: archive.name for archive in archives}}


_FIELDS = {"block": "blocks.{}.block", "archive": "archives.{}.archive", "agent": "agents.{}"}
_NAMED = {"block": blocks_labelled, "archive": archives_named, "agent": agents_named}


async def _only(transaction: Transaction, kind: str, place: int, name: str) -> str:
    """Return the identifier of the only one of a kind that a name means."""
    found, field = await _NAMED[kind](transaction, name), _FIELDS[kind].format(place)
    if not found:
        raise InvalidInput(f"{field}: there is no {kind} {name!r}; name one by its identifier or its name.")
    if len(found) > 1:
        some = ", ".join(found[:5])
        raise InvalidInput(f"{field}: several {kind}s are called {name!r}: {some}. Name the one by its identifier.")
    return found[0]
