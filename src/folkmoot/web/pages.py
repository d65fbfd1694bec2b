"""The pages' part of the application: their routes and their static files."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles

from folkmoot.web import live
from folkmoot.web.responses import SECURITY, STATIC, static_version
from folkmoot.web.session import Sessions
from folkmoot.web.views import agents, blocks, login, moot, runs, start


def add_pages(application: FastAPI, sessions: Sessions) -> None:
    """Add the pages, their static files and their sessions to the application."""
    application.state.sessions = sessions
    for view in (login, moot, start, blocks, agents, runs, live):
        application.include_router(view.router)
    application.mount("/static", _Static(directory=STATIC), name="static")


class _Static(StaticFiles):
    """Static files, whose addresses change when they do."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Any, status_code: int = 200) -> Response:
        """Return a file with the pages' headers; one asked for by its full address may be kept for ever."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(SECURITY)
        fresh = scope.get("query_string") == f"v={static_version()}".encode()
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if fresh else "no-cache"
        return response
