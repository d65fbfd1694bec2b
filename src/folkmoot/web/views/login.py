"""Signing in with the API key, once, and out again."""

from __future__ import annotations

from fastapi import Request, Response

from folkmoot.web.responses import OpenRoute, page_router, read_form, redirect, render
from folkmoot.web.session import COOKIE, LASTS, Sessions

router = page_router(OpenRoute)


@router.get("/login")
async def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the query's own name
    """Ask for the API key; a server without one has nothing to ask."""
    sessions: Sessions = request.app.state.sessions
    if not sessions.needed:
        return redirect(_local(next))
    return render(request, "login.html", next=_local(next), problem=None)


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Begin a session for who knows the key."""
    sessions: Sessions = request.app.state.sessions
    form = await read_form(request)
    target = _local(form.get("next", ["/"])[0])
    key = form.get("key", [""])[0].strip()
    if not sessions.is_key(key.encode()):
        problem = "This is not the server's API key. It is what FOLKMOOT_API_KEY was set to when the server started."
        return render(request, "login.html", 401 if key else 422, next=target, problem=problem)
    response = redirect(target)
    response.set_cookie(
        COOKIE,
        sessions.begin(),
        max_age=LASTS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.get("/session")
async def session(request: Request) -> Response:
    """Say whether the browser has a session: a page that was reached from another site was asked for without it."""
    sessions: Sessions = request.app.state.sessions
    return Response(status_code=204 if sessions.admits(dict(request.scope["headers"])) else 401)


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """End the browser's session."""
    response = redirect("/login")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _local(address: str) -> str:
    """Return an address of this server, whatever was asked for.

    >>> _local("/runs?status=failed"), _local("//evil.example"), _local("https://evil.example")
    ('/runs?status=failed', '/', '/')
    """
    ok = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if ok else "/"
