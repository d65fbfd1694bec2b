"""What the forms of a folder's page do where no script does it: each does its work and leads back to a page."""

from __future__ import annotations

from fastapi import Request, Response

from folkmoot.agents.deletion import remove_file, remove_folder
from folkmoot.agents.folders import attach_folder, detach_folder
from folkmoot.errors import FolkmootError, NotFound
from folkmoot.files.folders import update_folder
from folkmoot.server.state import State
from folkmoot.server.uploads import receive_upload
from folkmoot.server.wire.common import FolderId
from folkmoot.server.wire.folders import UpdateFolder
from folkmoot.web.forms import text_of
from folkmoot.web.responses import page_router, read_form, redirect
from folkmoot.web.views.folders import folder_page

router = page_router()


@router.post("/folders/{folder_id}/upload")
async def upload(request: Request, folder_id: FolderId, state: State) -> Response:
    """Take a file, or say why it is not taken."""
    most = state.services.settings.max_file
    try:
        await receive_upload(request, state.store, folder_id, None, "suffix", most)
    except NotFound:
        raise
    except FolkmootError as error:
        return await folder_page(request, folder_id, state, error.status, problem=error.message)
    return redirect(f"/folders/{folder_id}")


@router.post("/folders/{folder_id}/remove")
async def remove(request: Request, folder_id: FolderId, state: State) -> Response:
    """Delete a file."""
    await remove_file(state.store, folder_id, text_of(await read_form(request), "file"))
    return redirect(f"/folders/{folder_id}")


@router.post("/folders/{folder_id}")
async def change(request: Request, folder_id: FolderId, state: State) -> Response:
    """Change the folder's name, what is said of it, and its embedding."""
    form = await read_form(request)
    named = ("name", "description", "instructions", "embedding")
    fields = {name: text_of(form, name).strip() or None for name in named}
    changes = UpdateFolder.model_validate(fields).changes()
    default = state.services.embeddings.usable(None)
    await state.store.write(lambda transaction: update_folder(transaction, folder_id, changes, default))
    return redirect(f"/folders/{folder_id}")


@router.post("/folders/{folder_id}/delete")
async def delete(folder_id: FolderId, state: State) -> Response:
    """Delete the folder with its files."""
    await remove_folder(state.store, folder_id, state.author)
    return redirect("/folders")


@router.post("/folders/{folder_id}/attach")
async def attach(request: Request, folder_id: FolderId, state: State) -> Response:
    """Give an agent the folder."""
    agent_id = text_of(await read_form(request), "agent")
    await state.store.write(lambda transaction: attach_folder(transaction, agent_id, folder_id))
    return redirect(f"/folders/{folder_id}")


@router.post("/folders/{folder_id}/detach")
async def detach(request: Request, folder_id: FolderId, state: State) -> Response:
    """Take the folder from an agent."""
    agent_id = text_of(await read_form(request), "agent")
    await state.store.write(lambda transaction: detach_folder(transaction, agent_id, folder_id))
    return redirect(f"/folders/{folder_id}")
