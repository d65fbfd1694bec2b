"""What the forms of an archive's page do where no script does it: each does its work and leads back to a page."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.errors import FolkmootError
from folkmoot.server.routes import archives as api
from folkmoot.server.state import State
from folkmoot.server.wire.archives import AttachArchive, CreatePassage, UpdateArchive
from folkmoot.server.wire.common import ArchiveId
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect
from folkmoot.web.views.archives import Adding, archive_page

router = page_router()


@router.post("/archives/{archive_id}/passages")
async def add(request: Request, archive_id: ArchiveId, state: State) -> Response:
    """Add a passage, or say what is wrong with it."""
    form = await read_form(request)
    text, tags = text_of(form, "text"), text_of(form, "tags")
    try:
        body = CreatePassage.model_validate({"text": text, "tags": choices(tags)})
        await api.create_passage(archive_id, body, state)
    except (ValidationError, FolkmootError) as error:
        problem = " ".join(problems_of(error, ()).values())
        return await archive_page(request, archive_id, state, 422, adding=Adding(text, tags, problem))
    return redirect(f"/archives/{archive_id}")


@router.post("/archives/{archive_id}/remove")
async def remove(request: Request, archive_id: ArchiveId, state: State) -> Response:
    """Delete a passage."""
    await api.delete_in(archive_id, text_of(await read_form(request), "passage"), state)
    return redirect(f"/archives/{archive_id}")


@router.post("/archives/{archive_id}")
async def change(request: Request, archive_id: ArchiveId, state: State) -> Response:
    """Change the archive's name, description and embedding."""
    form = await read_form(request)
    body = UpdateArchive.model_validate(
        {
            "name": text_of(form, "name").strip(),
            "description": text_of(form, "description").strip() or None,
            "embedding": text_of(form, "embedding").strip() or None,
        }
    )
    await api.update(archive_id, body, state)
    return redirect(f"/archives/{archive_id}")


@router.post("/archives/{archive_id}/delete")
async def delete(archive_id: ArchiveId, state: State) -> Response:
    """Delete the archive."""
    await api.delete(archive_id, state)
    return redirect("/archives")


@router.post("/archives/{archive_id}/attach")
async def attach(request: Request, archive_id: ArchiveId, state: State) -> Response:
    """Attach the archive to an agent; again, to change its access."""
    form = await read_form(request)
    body = AttachArchive.model_validate({"access": text_of(form, "access") or None})
    await api.attach(text_of(form, "agent"), archive_id, state, body)
    return redirect(f"/archives/{archive_id}")


@router.post("/archives/{archive_id}/detach")
async def detach(request: Request, archive_id: ArchiveId, state: State) -> Response:
    """Detach the archive from an agent."""
    form = await read_form(request)
    await api.detach(text_of(form, "agent"), archive_id, state)
    return redirect(f"/archives/{archive_id}")
