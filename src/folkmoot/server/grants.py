"""What a member's key is to reach, as people name it: blocks by label, agents by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from folkmoot.access.keys import Key
from folkmoot.access.principals import Grants
from folkmoot.agents.listing import agents_named
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
    if wanted.blocks is None and wanted.agents is None:
        return now
    now = now or Grants({})
    blocks = (
        now.blocks
        if wanted.blocks is None
        else {
            await _only(transaction, f"blocks.{place}.block", each.block): each.access
            for place, each in enumerate(wanted.blocks)
        }
    )
    agents = (
        now.agents
        if wanted.agents is None
        else [await _only(transaction, f"agents.{place}", each) for place, each in enumerate(wanted.agents)]
    )
    return Grants(blocks, frozenset(agents))


async def labels_for(transaction: Transaction, keys: Iterable[Key]) -> Mapping[str, str]:
    """Return the labels of the blocks that the keys reach, of those that are there."""
    return await labels_of(transaction, {each for key in keys if key.grants is not None for each in key.grants.blocks})


async def _only(transaction: Transaction, field: str, name: str) -> str:
    kind = field.partition(".")[0]
    found = await (blocks_labelled if kind == "blocks" else agents_named)(transaction, name)
    if not found:
        raise InvalidInput(f"{field}: there is no {kind[:-1]} {name!r}; name one by its identifier or its name.")
    if len(found) > 1:
        some = ", ".join(found[:5])
        raise InvalidInput(f"{field}: several {kind} are called {name!r}: {some}. Name the one by its identifier.")
    return found[0]
