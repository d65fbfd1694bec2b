"""Pictures in what was said: which of them a page shows, and their bytes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.errors import NotFound

SHOWN_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
"""Media types of pictures that browsers draw and that cannot hold a script."""

SHARE_OF_BODY = 0.74
"""How much of a request's bytes a message's pictures may have together: in base64 they take a third more."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a message: its place among its pictures, counted from 0, and where it is."""

    number: int
    address: str
    """Where it is elsewhere, from where no page loads it; empty when the message holds it."""
    media_type: str

    @property
    def is_shown(self) -> bool:
        """Whether a page draws it."""
        return self.media_type in SHOWN_TYPES


def parts_with_pictures(content: Any) -> list[Mapping[str, Any]]:
    """Return the parts of a message's content that are pictures, as they were sent."""
    return [] if isinstance(content, str) else [part for part in content if part.get("type") == "image"]


def pictures_of(content: Any) -> Sequence[Picture]:
    """Return the pictures of a message's content."""
    return [_picture(number, part["source"]) for number, part in enumerate(parts_with_pictures(content))]


def read_picture(content: Any, number: int) -> tuple[str, bytes]:
    """Return media type and bytes of a picture that a message holds.

    Raises:
        NotFound: it holds no such picture, or one that no page shows.
    """
    pictures = pictures_of(content)
    if not 0 <= number < len(pictures) or not pictures[number].is_shown:
        raise NotFound(f"The message has no picture {number} that can be shown.")
    source = parts_with_pictures(content)[number]["source"]
    data = source["data"] if source["type"] == "base64" else source["url"].partition(",")[2]
    return pictures[number].media_type, b64decode(data)


def _picture(number: int, source: Mapping[str, Any]) -> Picture:
    if source["type"] == "base64":
        return Picture(number, "", source["media_type"])
    if source["url"].startswith("data:"):
        return Picture(number, "", source["url"].removeprefix("data:").partition(";")[0])
    return Picture(number, source["url"], "")
