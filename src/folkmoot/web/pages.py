"""The pages' part of the application: their routes and their static files."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles

from folkmoot.server.gate import OPEN_FOLDER
from folkmoot.web import live
from folkmoot.web.attempts import Attempts
from folkmoot.web.responses import SECURITY, STATIC, error_page, static_version
from folkmoot.web.views import (
    activity,
    agent_files,
    agent_forms,
    agent_settings,
    agents,
    archive_forms,
    archives,
    block_forms,
    block_past,
    block_settings,
    blocks,
    chats,
    description,
    folder_forms,
    folders,
    inbox,
    login,
    members,
    model_forms,
    moot,
    runs,
    search,
    settings,
    start,
    steps,
    tool_servers,
    tools,
)


def add_pages(application: FastAPI) -> None:
    """Add the pages, their static files and the sign-in to the application."""
    application.state.attempts = Attempts()
    application.state.error_page = error_page
    memory = (blocks, block_forms, block_past, block_settings, archives, archive_forms, folders, folder_forms)
    own = (
        *memory,
        agent_files,
        agents,
        agent_forms,
        agent_settings,
        chats,
        tool_servers,
        tools,
        members,
        settings,
        model_forms,
    )
    happened = (runs, steps, inbox, search, activity)
    for view in (login, moot, start, *own, *happened, live, description):
        application.include_router(view.router)
    application.mount(OPEN_FOLDER.rstrip("/"), _Static(directory=STATIC), name="static")


class _Static(StaticFiles):
    """Static files, whose addresses change when they do."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Any, status_code: int = 200) -> Response:
        """Return a file with the pages' headers; one asked for by its full address may be kept for ever."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(SECURITY)
        fresh = scope.get("query_string") == f"v={static_version()}".encode()
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fresh else "no-cache"
        return response
