"""How a page becomes a response: its template, its headers, its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ValidationError
from starlette.responses import RedirectResponse

from folkmoot import __version__
from folkmoot.access.authentication import Authentication
from folkmoot.access.principals import Principal, at_least
from folkmoot.errors import FolkmootError, InvalidInput, MalformedId, TooLarge
from folkmoot.store import clock
from folkmoot.web import words
from folkmoot.web.code import connect

MOST_FIELDS = 2000

_PIECE = 65_536

STATIC = Path(__file__).parent / "static"

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every page and static file: nothing inline, nothing from elsewhere, in nobody's frame."""


class PageRoute(APIRoute):
    """A page's route: whatever goes wrong is shown as a page too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with errors turned into pages."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            request.state.asked_at = clock.now()
            try:
                return await handler(request)
            except MalformedId as error:
                return error_page(request, 404, error.message)
            except FolkmootError as error:
                return error_page(request, error.status, error.message)
            except ValidationError as error:
                return error_page(request, 422, _first_of(error.errors()))
            except RequestValidationError as error:
                return error_page(request, 404, _first_of(error.errors()))

        return handle


def page_router() -> APIRouter:
    """Return a router for pages, which are no part of the API's description."""
    return APIRouter(route_class=PageRoute, include_in_schema=False, default_response_class=Response)


def render(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Return a template as a response.

    Args:
        request: what it answers.
        template: name of the file in `templates/`.
        status: the response's status.
        values: what the template shows; every text is escaped.
    """
    authentication: Authentication = request.app.state.authentication
    principal: Principal | None = request.scope.get("principal")
    body = (
        environment()
        .get_template(template)
        .render(
            request=request,
            path=request.url.path,
            whose=(principal.id or principal.name) if principal is not None else None,
            has_sessions=authentication.needs_key,
            is_admin=principal is not None and principal.role == "admin",
            may_act=principal is not None and at_least(principal.role, "member"),
            most_bytes=request.app.state.server.shared.settings.max_body,
            base_url=str(request.base_url).rstrip("/"),
            asked_at=getattr(request.state, "asked_at", None) or clock.now(),
            **values,
        )
    )
    return Response(body, status, {**SECURITY, "Cache-Control": "no-store"}, media_type="text/html; charset=utf-8")


def error_page(request: Request, status: int, message: str) -> Response:
    """Return an error as a page: what happened, and where to go from there."""
    back = _page_of_form(request) if request.method == "POST" and status != 404 else ""
    titles = {404: "There is nothing here", 403: "This is not allowed", 413: "This is too large"}
    title = titles.get(status, "That did not work")
    return render(request, "error.html", status, title=title, message=message, back=back)


def redirect(address: str) -> Response:
    """Return a response that sends the browser to another page after a form."""
    return RedirectResponse(address, 303, SECURITY)


@cache
def environment() -> Environment:
    """Return the templates' environment; everything is escaped, and a name that is missing is an error."""
    templates = Environment(
        loader=PackageLoader("folkmoot.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals.update(version=__version__, static=_static_address, connect=connect, **words.GLOBALS)
    templates.filters.update(words.FILTERS)
    return templates


@cache
def static_version() -> str:
    """Return what stands in the static files' addresses, so that a changed file has a new one."""
    digest = sha256()
    for file in sorted(STATIC.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _static_address(name: str) -> str:
    return f"/static/{name}?v={static_version()}"


async def read_form(request: Request, most: int | None = None) -> dict[str, list[str]]:
    """Return a form's fields, whose lines end as everywhere: browsers send CR LF.

    Args:
        request: whose body the form is.
        most: bytes that the form may have, where they are fewer than of any body.

    Raises:
        InvalidInput: the body is no form.
        TooLarge: it has more bytes.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if most is not None and len(body) > most:
            raise TooLarge(f"The form has more than {most:,} bytes. Send it as the page does.")
    try:
        # A text of ten megabytes in a form's encoding takes seconds.
        fields = await asyncio.to_thread(_fields, bytes(body))
    except ValueError as error:
        raise InvalidInput("The form cannot be read; send it as a browser does.") from error
    if any("\0" in text for texts in fields.values() for text in texts):
        raise InvalidInput("The form contains a NUL character; remove it.")
    return {name: [text.replace("\r\n", "\n") for text in texts] for name, texts in fields.items()}


def _fields(body: bytes) -> dict[str, list[str]]:
    if body.count(b"&") > MOST_FIELDS:
        raise ValueError(f"more than {MOST_FIELDS} fields")
    fields: dict[str, list[str]] = {}
    for field in filter(None, body.split(b"&")):
        name, _, value = field.partition(b"=")
        fields.setdefault(_plain(name), []).append(_plain(value))
    return fields


def _plain(text: bytes) -> str:
    """Return a text without a form's escapes; piece by piece, since each of them is an object while they are read."""
    pieces: list[bytes] = []
    at = 0
    while at < len(text):
        end = at + _PIECE
        end = next((place for place in (end - 1, end - 2) if text[place : place + 1] == b"%"), end)  # no escape is cut
        pieces.append(unquote_to_bytes(text[at:end].replace(b"+", b" ")))
        at = end
    return b"".join(pieces).decode()


def _page_of_form(request: Request) -> str:
    """Return the page on which a form stands: a form's address is its page's, with what it does behind it."""
    page, _, does = request.url.path.rpartition("/")
    return page if does.isalpha() and does not in ("new", "import") and page else request.url.path if page else "/"


def _first_of(problems: Sequence[Any]) -> str:
    problem = problems[0]
    cause = (problem.get("ctx") or {}).get("error")
    if isinstance(cause, FolkmootError):
        return cause.message
    return f"{problem['loc'][-1]}: {problem['msg']}" if problem["loc"] else str(problem["msg"])
