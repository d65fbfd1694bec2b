"""The one place where errors become responses."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from http import HTTPStatus
from reprlib import Repr
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from folkmoot.errors import FolkmootError, InvalidInput, MalformedId, StoreError, Unauthorized

MOST_EXPLAINED = 50
"""Problems of a request that are looked at one by one."""

_SHORT = Repr()
"""Shows the beginning of a value without looking at all of it."""
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxdict = 20

logger = logging.getLogger(__name__)

_TEXT = {"type": "string", "description": "What happened and what to do."}
_PENDING = {
    "type": "object",
    "description": "A tool call waits for approval, and the request brings none.",
    "required": ["code", "message", "pending_request_id"],
    "properties": {name: {"type": "string"} for name in ("code", "message", "pending_request_id")},
}


def _problem(description: str, **fields: Any) -> dict[str, Any]:
    """Return an error's response as OpenAPI describes it; an error may add keys of its own."""
    schema = {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": True}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "409": _problem("It does not fit what is stored.", detail={"anyOf": [_TEXT, _PENDING]}),
    "422": _problem("A value of the request cannot be used.", trace_id={"type": "string"}, detail=_TEXT),
    "4XX": _problem("The request cannot be done.", detail=_TEXT),
    "5XX": _problem("The server, its store or a model's provider failed.", detail=_TEXT),
}
"""The form of every error, for the API's description."""


def error_body(error: FolkmootError) -> dict[str, Any]:
    """Return an error's body: `detail` always, `trace_id` with invalid input, and what the error adds.

    >>> error_body(FolkmootError("It broke."))
    {'detail': 'It broke.'}
    """
    body: dict[str, Any] = {"trace_id": ""} if isinstance(error, InvalidInput) else {}
    return {**body, "detail": error.message, **error.extra}


def error_response(error: FolkmootError, path: str = "") -> Response:
    """Return an error as a response with its own status, in the form that clients of `path` look for."""
    error.extra = {**error.extra, **_for_openai(path, error.message, type(error).__name__)}
    if path == "/mcp":  # and clients of the Model Context Protocol look for a JSON-RPC error
        error.extra = {**error.extra, "jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": error.message}}
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else {}
    if isinstance(error, StoreError):
        headers["Retry-After"] = "1"
    content = json.dumps(error_body(error), ensure_ascii=True)
    return Response(content, error.status, headers, media_type="application/json")


def _for_openai(path: str, message: str, kind: str) -> dict[str, Any]:
    """Return what OpenAI's clients look for in an error; nothing for others."""
    theirs = path.startswith(("/v1/chat/", "/v1/responses", "/openai/"))
    return {"error": {"message": message, "type": kind}} if theirs else {}


FOR_PROGRAMS = ("/v1/", "/openai/", "/mcp", "/metrics", "/openapi.json", "/static/")
"""Below these programs ask, be they browsers; elsewhere people do."""


def answer_error(error: FolkmootError, scope: Scope) -> Response:
    """Return an error as its request wants it: as a page where a person in a browser asked, else as JSON."""
    return _as_page(scope, error.status, error.message) or error_response(error, scope["path"])


def _as_page(scope: Scope, status: int, message: str) -> Response | None:
    """Return an error as a page; None for programs, and for who was not let in."""
    accepts = Headers(scope=scope).get("accept", "")
    if "principal" not in scope or "text/html" not in accepts or scope["path"].startswith(FOR_PROGRAMS):
        return None
    page: Response = scope["app"].state.error_page(Request(scope), status, message)
    return page


def add_error_handlers(application: FastAPI) -> None:
    """Let the application answer every error in one form."""

    @application.exception_handler(FolkmootError)
    async def ours(request: Request, error: FolkmootError) -> Response:
        return answer_error(error, request.scope)

    @application.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer_error(explain(error.errors()), request.scope)

    @application.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        words = _about_route(request, error)
        page = _as_page(request.scope, error.status_code, words)
        body = {
            "detail": words,
            **_for_openai(request.url.path, words, HTTPStatus(error.status_code).phrase.replace(" ", "")),
        }
        return page or Response(json.dumps(body), error.status_code, error.headers, media_type="application/json")

    @application.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=408)  # to nobody: the client left before its request was whole

    @application.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        logger.error("Unexpected error at %s %s", request.method, request.url.path, exc_info=error)
        failure = FolkmootError("Folkmoot failed at this request; the server's log says where.")
        response = answer_error(failure, request.scope)
        response.headers["Connection"] = "close"  # as the server will
        return response


def _about_route(request: Request, error: HTTPException) -> str:
    if error.status_code == 404:
        return f"There is nothing at {request.method} {request.url.path}."
    if error.status_code == 405:
        return f"{request.method} is not possible at {request.url.path}."
    return str(error.detail)


def explain(problems: Sequence[Any]) -> InvalidInput:
    """Return what is wrong with a request: each field, its value and what it should be.

    >>> explain([{"type": "missing", "loc": ("body", "label"), "msg": "Field required", "input": {}}]).message
    'label: Field required'
    """
    for problem in problems:
        cause = (problem.get("ctx") or {}).get("error")
        if isinstance(cause, MalformedId):
            return cause
    parts = list(dict.fromkeys(_explain_one(problem) for problem in problems[:MOST_EXPLAINED]))
    more = len(parts) - 5 + max(len(problems) - MOST_EXPLAINED, 0)
    shown = "; ".join(parts[:5]) + (f"; and {more} more" if len(parts) > 5 else "")
    return InvalidInput(shown)


def _is_field(part: str | int) -> bool:
    """Tell whether a part of an error's place is the client's own: not where it stood, nor a branch of a union."""
    branches = ("body", "query", "path", "header", "message", "approval", "tool_return", "tool", "str")
    return isinstance(part, int) or not (part in branches or "[" in part or "(" in part)


def _explain_one(problem: dict[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        reason = (problem.get("ctx") or {}).get("error", "")
        return f"The body is not valid JSON: {reason} (at character {problem['loc'][-1]})."
    place = ".".join(str(part) for part in problem["loc"] if _is_field(part))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("missing", "value_error") or "input" not in problem:
        return f"{place or 'body'}: {message}"
    value = _SHORT.repr(problem["input"])
    return f"{place or 'body'}: {message}; got {value if len(value) <= 80 else value[:80] + '…'}"
