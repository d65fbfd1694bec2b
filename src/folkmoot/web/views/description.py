"""The description of the API for people: Swagger UI and ReDoc, with files of this server alone."""

from __future__ import annotations

from fastapi import Request, Response

from folkmoot.web.responses import SECURITY, page_router, render

router = page_router()

STYLES = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
"""Hashes of the two style elements that ReDoc makes: an empty one, which it fills by rules, and its scroll bar's."""

POLICY = f"{SECURITY['Content-Security-Policy']}; style-src 'self' {STYLES}; img-src 'self' data:; worker-src blob:"
"""As on every page, and besides: pictures inside style sheets, and ReDoc's search in a worker of its own text."""


@router.get("/docs")
async def swagger_ui(request: Request) -> Response:
    """Show the description in Swagger UI, which can also try the calls."""
    return _shown(request, "swagger-ui")


@router.get("/redoc")
async def redoc(request: Request) -> Response:
    """Show the description in ReDoc."""
    return _shown(request, "redoc")


def _shown(request: Request, viewer: str) -> Response:
    response = render(request, "description.html", viewer=viewer)
    response.headers["Content-Security-Policy"] = POLICY
    return response
