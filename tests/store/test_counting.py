"""What is counted in a transaction counts once it has committed."""

from __future__ import annotations

import pytest

from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, edit_block
from folkmoot.memory.edits import Append
from folkmoot.metrics import EDITS
from folkmoot.store.engine import Store, Transaction


async def test_an_edit_that_is_taken_back_has_not_landed(opened: Store) -> None:
    author = Author("api", name="test")
    fields = {"label": "a", "value": "x"}
    block = await opened.write(lambda transaction: create_block(transaction, fields, author))

    def landed() -> float:
        return sum(value for _, _, labels, value in EDITS.lines() if labels == ("landed", "api"))

    async def edit(transaction: Transaction) -> None:
        await edit_block(transaction, block.id, Append("more"), author)

    async def edit_in_vain(transaction: Transaction) -> None:
        await edit(transaction)
        raise ValueError("taken back")

    before = landed()
    with pytest.raises(ValueError, match="taken back"):
        await opened.write(edit_in_vain)
    assert landed() == before
    await opened.write(edit)
    assert landed() == before + 1
