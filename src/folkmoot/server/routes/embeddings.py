"""Embeddings: what the stored vectors take."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Header

from folkmoot.archives.embedding import VECTORS as OF_PASSAGES
from folkmoot.files.embedding import VECTORS as OF_FILES
from folkmoot.server.scanning import Scan
from folkmoot.store.engine import Transaction
from folkmoot.store.nearest import stored_bytes

router = APIRouter(prefix="/v1/embeddings", tags=["archives"])

Unit: TypeAlias = Literal["B", "KB", "MB", "GB", "TB"]
BYTES_OF: dict[Unit, int] = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


@router.get("/total_storage_size")
async def total_storage_size(scan: Scan, storage_unit: Annotated[Unit, Header()] = "GB") -> float:
    """Return how much the organisation's vectors take, those of passages and of files; a GB is 1,024 MB here."""

    async def read(transaction: Transaction) -> int:
        return await stored_bytes(transaction, OF_PASSAGES) + await stored_bytes(transaction, OF_FILES)

    return await scan(read, lambda size: size / BYTES_OF[storage_unit])
