"""Signing in with the API key, once, and out again."""

from __future__ import annotations

import logging
from math import ceil

from fastapi import Request, Response

from folkmoot.access.authentication import Authentication
from folkmoot.access.principals import Principal
from folkmoot.access.sessions import COOKIE, LASTS
from folkmoot.server.state import ServersStore
from folkmoot.web.attempts import Attempts
from folkmoot.web.responses import page_router, read_form, redirect, render

logger = logging.getLogger(__name__)

router = page_router()

LARGEST_FORM = 20_000
"""Bytes of the form that anybody may send."""

ENDED = "The session has ended. Sign in, then do it again."
"""What somebody reads whose form came after the end of the session."""


@router.get("/login")
async def login_page(request: Request, next: str = "/", ended: bool = False) -> Response:  # noqa: A002 - the query's own name
    """Ask for the API key; a server without one has nothing to ask."""
    authentication: Authentication = request.app.state.authentication
    if not authentication.needs_key:
        return redirect(_local(next))
    return render(request, "login.html", next=_local(next), problem=ENDED if ended else None)


@router.post("/login")
async def sign_in(request: Request, store: ServersStore) -> Response:
    """Begin a session for who knows the key; who has failed too often has to wait."""
    authentication: Authentication = request.app.state.authentication
    attempts: Attempts = request.app.state.attempts
    form = await read_form(request, LARGEST_FORM)
    target = _local(form.get("next", ["/"])[0])
    key = form.get("key", [""])[0].strip()
    address = request.client.host if request.client is not None else ""
    if not authentication.needs_key:
        return redirect(target)
    if wait := ceil(attempts.wait(address)):
        logger.warning("A sign-in from %r was not looked at: too many have failed", address)
        problem = f"Too many sign-ins have failed. Try again in {wait} seconds."
        response = render(request, "login.html", 429, next=target, problem=problem)
        response.headers["Retry-After"] = str(wait)
        return response
    principal = await authentication.identify_secret(key, store)
    if principal is None or principal.is_scoped:  # a scoped key is no way to the pages
        if key:
            attempts.failed(address)
            logger.warning("A sign-in from %r failed: the key was wrong", address)
        problem = (
            "This is not the server's API key. It is what FOLKMOOT_API_KEY was set to when the server started, "
            "or what `folkmoot keys create` showed, as long as it lasts."
        )
        return render(request, "login.html", 401 if key else 422, next=target, problem=problem)
    response = redirect(target)
    response.set_cookie(
        COOKIE,
        await authentication.sessions.begin(store, principal),
        max_age=LASTS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    logger.info("%s signed in from %r", principal.name, address)
    return response


@router.get("/session")
async def session() -> Response:
    """Say that the browser has a session: a page that was reached from another site was asked for without it."""
    return Response(status_code=204)


@router.post("/logout")
async def sign_out(request: Request, store: ServersStore) -> Response:
    """End the browser's session, for good."""
    authentication: Authentication = request.app.state.authentication
    principal: Principal = request.scope["principal"]
    if principal.session_id is not None:
        await authentication.sessions.end(store, principal)
    response = redirect("/login")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


def _local(address: str) -> str:
    """Return an address of this server, whatever was asked for.

    >>> _local("/runs?status=failed"), _local("//evil.example"), _local("https://evil.example")
    ('/runs?status=failed', '/', '/')
    """
    ok = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if ok else "/"
