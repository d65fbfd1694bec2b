"""Pictures that tools return: which ones a model is shown, and the text that names them.

A picture comes inline, as base64 data with its media type. One at an address is not fetched for a tool: whoever fetched
it would tell that address what the tool wants told.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.models.prompt import Image

MOST_PICTURES = 8
"""In one return."""

MOST_DATA = 5_000_000
"""Characters of base64 that the pictures of one return have together."""

MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""Those that every provider's models can see."""


@dataclass(frozen=True, slots=True)
class Pictured:
    """A return as text, in which each picture is named in its place, and the pictures."""

    text: str
    pictures: Sequence[Image] = ()


def pictured(parts: Iterable[str | Image]) -> Pictured:
    r"""Return what a tool returned as text and pictures; one that cannot be shown is named with the reason.

    >>> pictured(["before", Image(data="AAAA", media_type="image/png"), "after"]).text
    'before\n(picture 1)\nafter'
    """
    return named(_shown(parts))


def named(parts: Iterable[str | Image]) -> Pictured:
    """Return texts and pictures as one text, in which each picture is named, and the pictures."""
    texts: list[str] = []
    pictures: list[Image] = []
    for part in parts:
        if isinstance(part, Image):
            pictures.append(part)
        texts.append(part if isinstance(part, str) else f"(picture {len(pictures)})")
    return Pictured("\n".join(text for text in texts if text), pictures)


def _shown(parts: Iterable[str | Image]) -> Iterator[str | Image]:
    """Yield the parts, words for a picture that cannot be shown."""
    pictures: list[Image] = []
    for part in parts:
        problem = _problem(part, pictures) if isinstance(part, Image) else None
        if isinstance(part, Image) and problem is None:
            pictures.append(part)
        yield part if problem is None else f"(a picture that cannot be shown: {problem})"


def read_parts(value: Any) -> list[str | Image] | None:
    """Return what a function returned as content parts, of which one is a picture; None for any other value.

    A part is `{"type": "text", "text": …}` or `{"type": "image", "source": {"type": "base64", "media_type": …,
    "data": …}}`, as in messages; a picture may stand alone.
    """
    parts = value if isinstance(value, list) else [value]
    if not all(map(_is_part, parts)) or not any(part["type"] == "image" for part in parts):
        return None
    return [part["text"] if part["type"] == "text" else _image(part["source"]) for part in parts]


def stored_picture(picture: Image) -> dict[str, Any]:
    """Return a picture as messages have it."""
    if picture.url is not None:
        return {"type": "image", "source": {"type": "url", "url": picture.url}}
    source = {"type": "base64", "media_type": picture.media_type, "data": picture.data}
    return {"type": "image", "source": source}


def _is_part(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "text":
        return isinstance(part.get("text"), str)
    return part.get("type") == "image" and isinstance(part.get("source"), Mapping)


def _image(source: Mapping[str, Any]) -> Image:
    url = source.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(",")
        return Image(data=data, media_type=head.removeprefix("data:").removesuffix(";base64"))
    if isinstance(url, str):
        return Image(url=url)
    return Image(data=str(source.get("data") or ""), media_type=str(source.get("media_type")))


def _problem(picture: Image, before: Sequence[Image]) -> str | None:
    """Return why a picture is not shown; None when it is."""
    if picture.data is None:
        return "a tool has to return the data itself, not an address"
    if picture.media_type not in MEDIA_TYPES:
        return f"it is {str(picture.media_type)[:80]}, not {', '.join(MEDIA_TYPES)}"
    if len(before) >= MOST_PICTURES:
        return f"there are {MOST_PICTURES} before it, which is the most"
    if len(picture.data) + sum(len(each.data or "") for each in before) > MOST_DATA:
        return f"the data of all would be more than {MOST_DATA:,} characters"
    try:
        content = base64.b64decode(picture.data, validate=True)
    except (binascii.Error, ValueError):
        return "its data is not base64"
    return None if content else "its data is empty"
