"""A block's settings: its label, what it is for, its limit, and who may change it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.errors import FolkmootError
from folkmoot.memory.blocks import Block, find_block, update_block
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.blocks import UpdateBlock
from folkmoot.server.wire.common import BlockId
from folkmoot.store.engine import Transaction
from folkmoot.web.forms import SettingsForm, choices, fingerprint, problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.settings_code import block_settings_calls

router = page_router()

FIELDS = ("label", "description", "limit", "tags", "read_only", "require_version")


@router.get("/blocks/{block_id}/settings")
async def show(request: Request, block_id: BlockId, state: State, saved: str = "") -> Response:
    """Show a block's settings."""
    return await _page(request, block_id, state, saved=saved)


@router.post("/blocks/{block_id}/settings")
async def change(request: Request, block_id: BlockId, state: State) -> Response:
    """Change what differs, unless somebody else has since the form was opened."""
    form = await read_form(request)
    values, seen = {name: text_of(form, name) for name in FIELDS}, text_of(form, "seen")

    async def write(transaction: Transaction) -> SettingsForm | None:
        now = _values_of(await find_block(transaction, block_id, lock=True))
        if fingerprint(now) not in (seen, fingerprint(values)):
            return SettingsForm.overtaken(values, now)
        changes = UpdateBlock.model_validate(_changed_fields(values, now)).changes()
        await update_block(transaction, block_id, changes, state.author)
        return None

    try:
        overtaken = await state.store.write(write, together=block_id)
    except (ValidationError, FolkmootError) as error:
        shown = SettingsForm(values, seen, problems=problems_of(error, FIELDS))
        return await _page(request, block_id, state, 422, shown=shown)
    if overtaken is not None:
        return await _page(request, block_id, state, 409, shown=overtaken)
    return redirect(f"/blocks/{block_id}/settings?saved=yes")


async def _page(
    request: Request,
    block_id: str,
    state: ServerState,
    status: int = 200,
    *,
    shown: SettingsForm | None = None,
    saved: str = "",
) -> Response:
    block = await state.store.read(lambda transaction: find_block(transaction, block_id))
    now = _values_of(block)
    return render(
        request,
        "block_settings.html",
        status,
        block=block,
        now=now,
        form=shown or SettingsForm(now, fingerprint(now)),
        saved=saved,
        calls=block_settings_calls(block_id),
    )


def _values_of(block: Block) -> dict[str, str]:
    """Return a block's settings as the form holds them."""
    return {
        "label": block.label,
        "description": block.description or "",
        "limit": str(block.limit),
        "tags": ", ".join(block.tags),
        "read_only": "yes" if block.read_only else "",
        "require_version": "yes" if block.require_version else "",
    }


def _changed_fields(values: Mapping[str, str], now: Mapping[str, str]) -> dict[str, Any]:
    """Return what the form changes, as the API takes it."""
    sent = {
        "label": values["label"].strip(),
        "description": values["description"].strip() or None,
        "limit": values["limit"].replace(",", "").strip(),
        "tags": choices(values["tags"]),
        "read_only": bool(values["read_only"]),
        "require_version": bool(values["require_version"]),
    }
    return {name: value for name, value in sent.items() if values[name] != now[name]}
