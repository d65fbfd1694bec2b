"""How times, numbers, edits and authors are put into words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from folkmoot.memory.authors import Author
from folkmoot.memory.history import Version
from folkmoot.store import clock

_STEPS = ((1, 60, "s"), (60, 3600, "min"), (3600, 86400, "h"), (86400, 86400 * 60, "d"), (86400 * 30, 1e12, "months"))

STATUS = {
    "created": "waits for its turn",
    "running": "running",
    "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "requires_approval": "waits for you",
}
"""A run's status as the pages say it."""

ACCESS = {"write": "write", "append": "append only", "read": "read only"}


def ago(microseconds: int, now: int | None = None) -> str:
    """Return how long ago a time was.

    >>> ago(0, 5_000_000)
    '5 s ago'
    """
    seconds = max(0.0, ((clock.now() if now is None else now) - microseconds) / 1e6)
    if seconds < 1:
        return "just now"
    size, _, unit = next(step for step in _STEPS if seconds < step[1])
    return f"{int(seconds // size)} {unit} ago"


def iso(microseconds: int) -> str:
    """Return a time in ISO 8601, UTC, to the millisecond."""
    return clock.to_datetime(microseconds).isoformat(timespec="milliseconds")


def exact(microseconds: int) -> str:
    """Return a time for people, exactly."""
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: float) -> str:
    """Return a number with separators.

    >>> number(1204)
    '1,204'
    """
    return f"{value:,}"


def duration(microseconds: int | None) -> str:
    """Return how long something took.

    >>> duration(4_200), duration(840_000), duration(75_000_000), duration(None)
    ('4 ms', '0.8 s', '1 min 15 s', '')
    """
    if microseconds is None:
        return ""
    if microseconds < 100_000:
        return f"{max(1, round(microseconds / 1000))} ms"
    seconds = microseconds / 1e6
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    >>> plural(1, "line"), plural(3, "line")
    ('1 line', '3 lines')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def author_name(author: Author) -> str:
    """Return an author's name as the pages show it."""
    if author.type == "agent":
        return author.name or "an agent"
    if author.type == "member":
        return author.name or "a member"
    return f"API ({author.name})" if author.type == "api" else "Folkmoot"


def edit_words(version: Version) -> str:
    """Return what a version's edit did, in a few words."""
    edit = version.edit
    match edit.get("kind"):
        case "create":
            return "created it"
        case "insert":
            return "+" + plural(_lines(edit.get("new_string")), "line")
        case "append":
            return "+" + plural(_lines(edit.get("content")), "line")
        case "replace":
            return f"replaced {plural(_lines(edit.get('old_string')), 'line')}"
        case "patch":
            return "patched it"
        case "rethink":
            return "rewrote it"
        case "undo":
            return "took back what a run had written"
        case "revert":
            return f"reverted to v{edit.get('version')}"
    return "wrote it"


def call_words(arguments: str) -> str:
    """Return the arguments of a tool call on one line: a label first, then the first text.

    >>> call_words('{"label": "organization", "new_string": "Agent1: a note"}')
    'organization · Agent1: a note'
    """
    try:
        given = json.loads(arguments)
    except ValueError:
        return clipped(arguments)
    if not isinstance(given, Mapping):
        return clipped(arguments)
    texts = [str(given["label"])] if "label" in given else []
    texts += [str(value) for name, value in given.items() if name != "label" and isinstance(value, str)][:1]
    return clipped(" · ".join(texts))


def size(count: int) -> str:
    """Return a number of bytes in words.

    >>> size(17), size(4096), size(12_345_678)
    ('17 bytes', '4.1 kB', '12.3 MB')
    """
    if count < 1000:
        return plural(count, "byte")
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def clipped(text: str, longest: int = 120) -> str:
    """Return a text on one line, cut where it is too long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def pretty(text: str) -> str:
    """Return JSON indented, and any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text


def content_text(content: Any) -> str:
    """Return the text of a message's content, whose pictures are named."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] if part.get("type") == "text" else "[picture]" for part in content)


def _lines(text: Any) -> int:
    return max(1, len(str(text or "").strip("\n").splitlines()))


GLOBALS: dict[str, Any] = {"STATUS": STATUS, "ACCESS": ACCESS}
FILTERS: dict[str, Any] = {
    "ago": ago,
    "iso": iso,
    "exact": exact,
    "number": number,
    "duration": duration,
    "plural": plural,
    "author_name": author_name,
    "edit_words": edit_words,
    "call_words": call_words,
    "clipped": clipped,
    "bytes": size,
    "pretty": pretty,
    "content_text": content_text,
}
