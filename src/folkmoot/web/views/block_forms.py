"""What the forms of a block's page do where no script does it: each does its work and leads back to a page."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.errors import FolkmootError, InvalidInput, PreconditionFailed
from folkmoot.server.routes import blocks as api
from folkmoot.server.routes import core_memory, history
from folkmoot.server.scanning import Scanning
from folkmoot.server.state import State
from folkmoot.server.wire.blocks import AttachBlock, RevertBlock, UpdateBlock
from folkmoot.server.wire.common import BlockId
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect
from folkmoot.web.views.blocks import Editing, block_page

router = page_router()


@router.post("/blocks/{block_id}")
async def edit(request: Request, block_id: BlockId, state: State) -> Response:
    """Write the block's text, if nobody has since the editor was opened; else show both texts."""
    form = await read_form(request)
    text, version = text_of(form, "value"), text_of(form, "version")
    if not version.isdecimal() or len(version) > 9:
        raise InvalidInput(f"version: {version!r} is not the version that was edited.")
    try:
        await api.update(block_id, UpdateBlock(value=text), int(version), state)
    except PreconditionFailed as error:
        return await block_page(request, block_id, state, error.status, editing=Editing(text, conflict=True))
    except (ValidationError, FolkmootError) as error:
        problem = " ".join(problems_of(error, ()).values())
        return await block_page(request, block_id, state, 422, editing=Editing(text, int(version), problem))
    return redirect(f"/blocks/{block_id}")


@router.post("/blocks/{block_id}/revert")
async def revert(request: Request, block_id: BlockId, state: State) -> Response:
    """Make an earlier version's text the text again."""
    form = await read_form(request)
    body = RevertBlock.model_validate({"version": text_of(form, "version")})
    await history.revert(block_id, body, None, state, Scanning(state.store, request))
    return redirect(f"/blocks/{block_id}")


@router.post("/blocks/{block_id}/delete")
async def delete(block_id: BlockId, state: State) -> Response:
    """Delete the block."""
    await api.delete(block_id, state)
    return redirect("/blocks")


@router.post("/blocks/{block_id}/attach")
async def attach(request: Request, block_id: BlockId, state: State) -> Response:
    """Attach the block to an agent; again, to change its access."""
    form = await read_form(request)
    body = AttachBlock.model_validate({"access": text_of(form, "access") or None})
    await core_memory.attach_block(text_of(form, "agent"), block_id, state, body)
    return redirect(f"/blocks/{block_id}")


@router.post("/blocks/{block_id}/detach")
async def detach(request: Request, block_id: BlockId, state: State) -> Response:
    """Detach the block from an agent."""
    form = await read_form(request)
    await core_memory.detach_block(text_of(form, "agent"), block_id, state)
    return redirect(f"/blocks/{block_id}")
