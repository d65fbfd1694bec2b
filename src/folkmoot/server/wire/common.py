"""What the requests and responses of every resource share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeAlias

from fastapi import Depends, Query, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from folkmoot.identifiers import check_id
from folkmoot.store import clock
from folkmoot.store.paging import LARGEST_PAGE, Page

DEEPEST_JSON = 50
"""How deep objects and lists may be nested in what a client sends to be kept."""

LONGEST_JSON = 100_000
"""Characters, about, of what a client sends to be kept."""

MOST_ITEMS = 1000
"""Items of a list in a request."""

LONGEST_TAG = 500
"""Characters of a tag: PostgreSQL's indexes take no much longer ones."""

_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


def _storable(text: str) -> str:
    if found := _NOT_STORABLE.search(text):
        what = "a NUL character" if found[0] == "\0" else f"half a surrogate pair (U+{ord(found[0]):04X})"
        raise ValueError(f"contains {what}, which cannot be stored; remove it")
    return text


def storable_json_of(longest: int) -> Callable[[Any], Any]:
    """Return a validator of JSON that both stores can keep and that has at most so many characters, about."""

    def check(value: Any) -> Any:
        if _measure(value, 0, longest) < 0:
            raise ValueError(f"has more than {longest:,} characters as JSON; keep less here, or put it in a block")
        return value

    return check


def _measure(value: Any, depth: int, left: int) -> int:
    """Look through JSON that is to be kept; return how many characters it may still have, below 0 if it is too long."""
    if depth > DEEPEST_JSON:
        raise ValueError(f"is nested more than {DEEPEST_JSON} levels deep")
    left -= 2
    if isinstance(value, str):
        left -= len(value)
    elif isinstance(value, int):
        left -= value.bit_length() // 3  # a number may have thousands of digits, and each is dear to write
    if left < 0:
        return left
    if isinstance(value, str):
        _storable(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            left = _measure(item, depth + 1, _measure(key, depth, left))
    elif isinstance(value, list):
        for item in value:
            left = _measure(item, depth + 1, left)
    return left


Text = Annotated[str, AfterValidator(_storable)]
"""Text that both stores can keep; the validator's error names what they cannot."""

Tag = Annotated[Text, Field(max_length=LONGEST_TAG)]
"""A tag of an agent or a block."""

JsonObject = Annotated[dict[str, Any], BeforeValidator(storable_json_of(LONGEST_JSON))]
"""An object of the client's own, which is kept as it is."""

Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
"""A number that both stores can compare with."""

AgentId = Annotated[str, AfterValidator(lambda value: check_id("agent", value))]
ArchiveId = Annotated[str, AfterValidator(lambda value: check_id("archive", value))]
BlockId = Annotated[str, AfterValidator(lambda value: check_id("block", value))]
FileId = Annotated[str, AfterValidator(lambda value: check_id("file", value))]
FolderId = Annotated[str, AfterValidator(lambda value: check_id("source", value, "folder_id"))]
JobId = Annotated[str, AfterValidator(lambda value: check_id("job", value))]
MessageId = Annotated[str, AfterValidator(lambda value: check_id("message", value))]
PassageId = Annotated[str, AfterValidator(lambda value: check_id("passage", value))]
RunId = Annotated[str, AfterValidator(lambda value: check_id("run", value))]
StepId = Annotated[str, AfterValidator(lambda value: check_id("step", value))]
ToolId = Annotated[str, AfterValidator(lambda value: check_id("tool", value))]

Order: TypeAlias = Literal["asc", "desc"]

IncludeErrors: TypeAlias = Annotated[
    bool | None, Query(description="Whether messages that are errors are wanted too; no stored message is one.")
]


class Request(BaseModel):
    """A request's body; keys that Folkmoot does not know are ignored, since newer clients may send them."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


class Reply(BaseModel):
    """A response's body."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @classmethod
    def model_construct(cls, _fields_set: set[str] | None = None, **values: Any) -> Self:  # type: ignore[override]
        """Make one of values that need no check: as pydantic does, but at once where every field is among them."""
        if values.keys() != cls.__pydantic_fields__.keys() or cls.__pydantic_post_init__:
            return super().model_construct(_fields_set, **values)
        reply = cls.__new__(cls)
        object.__setattr__(reply, "__dict__", values)
        object.__setattr__(reply, "__pydantic_fields_set__", set(values) if _fields_set is None else _fields_set)
        object.__setattr__(reply, "__pydantic_extra__", None)
        object.__setattr__(reply, "__pydantic_private__", None)
        return reply


def json_response(body: Reply | list[Any], headers: Mapping[str, str] | None = None) -> Response:
    """Return a body as JSON without FastAPI's second validation of it."""
    content = b"[" + b",".join(map(_json, body)) + b"]" if isinstance(body, list) else _json(body)
    return Response(content, headers=dict(headers or {}), media_type="application/json")


def _json(model: BaseModel) -> bytes:
    return model.__pydantic_serializer__.to_json(model)


def page_of(order: Order | None, largest: int = 50, by: str | None = "created_at") -> Any:
    """Return a dependency that reads `limit`, `after`, `before`, `order` and `order_by` from the query.

    Args:
        order: the list's order when the request names none; None gives the newest items, the oldest of them first, and
            after the last of a page the page of the items before it.
        largest: how many items a page has when the request does not say.
        by: the one thing that the list can be ordered by; None when its route reads `order_by` itself.
    """
    default = order

    async def read(
        limit: Annotated[int | None, Query(ge=1, description="How many items to return; 1000 at the most.")] = None,
        after: Annotated[str | None, Query(description="Return what comes after this item.")] = None,
        before: Annotated[str | None, Query(description="Return what comes before this item.")] = None,
        order: Annotated[Order | None, Query(description="By time of creation: oldest or newest first.")] = None,
    ) -> Page:
        return Page(
            min(limit or largest, LARGEST_PAGE),
            after,
            before,
            order or default or "asc",
            from_end=order is None and default is None,
        )

    if by is None:
        return read
    described = Query(None, pattern=f"^{by}$", description=f"Only {by}: this list has no other order.")

    async def read_ordered(page: Page = Depends(read), order_by: str | None = described) -> Page:  # noqa: B008
        return page

    return read_ordered


def moment(microseconds: int) -> datetime:
    """Return a stored time as the wire shows it."""
    return clock.to_datetime(microseconds)


class Deleted(Reply):
    """What was done."""

    message: str = Field(description="A sentence that says what was deleted.")
