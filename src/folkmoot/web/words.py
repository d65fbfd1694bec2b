"""How times, numbers, edits and authors are put into words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from folkmoot.agents.standing_approvals import StandingApproval
from folkmoot.conversations.messages import clean_text, text_in
from folkmoot.memory.authors import Author
from folkmoot.memory.history import LONGEST_DESCRIPTION, Version
from folkmoot.runs.summaries import RunSummary
from folkmoot.store import clock
from folkmoot.tools.builtin.proposed import arguments_of
from folkmoot.web.markdown import markdown

_STEPS = ((1, 60, "s"), (60, 3600, "min"), (3600, 86400, "h"), (86400, 86400 * 60, "d"), (86400 * 30, 1e12, "months"))

_OF_AGENT = re.compile(r"^\[Message from agent [^\n]*\]\s*")
"""What a message of another agent begins with."""

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


def dollars(cost: float | None) -> str:
    """Return what something cost.

    >>> dollars(None), dollars(0.00042), dollars(0.0216), dollars(3.5)
    ('', '$0.0004', '$0.022', '$3.50')
    """
    if cost is None:
        return ""
    if cost >= 1 or not cost:
        return f"${cost:,.2f}"
    return f"${cost:.3f}" if cost >= 0.01 else f"${cost:.4f}" if cost >= 0.0001 else "< $0.0001"


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
    if author.type == "api":  # a key is called by its holder's name, if it is one that was given out
        return author.name if author.id and author.name else f"API ({author.name})"
    return "Folkmoot"


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
        case "set_text" if len(str(edit.get("text"))) < LONGEST_DESCRIPTION:
            return f"wrote {plural(_lines(edit.get('text')), 'line')}"
    return "wrote it"


def like_words(approval: StandingApproval) -> str:
    """Return which calls an approval is of.

    >>> like_words(StandingApproval("memory_insert", {"label": "notes"}, exact=False))
    'memory_insert with label “notes”, whatever else it says'
    """
    if approval.exact:
        return f"{approval.tool_name} with exactly these arguments"
    named = ", ".join(
        f"{name} “{clipped(value if isinstance(value, str) else json.dumps(value), 40)}”"
        for name, value in approval.arguments.items()
    )
    return f"{approval.tool_name} with {named}, whatever else it says"


def asked_words(summary: RunSummary) -> str:
    """Return what a run was asked; of another agent's message without the words that say whose it is."""
    if summary.asked is None:
        return "decided about a call that waited" if summary.run.details.get("decides") else "went on"
    text = content_text(summary.asked.body["content"])
    return _OF_AGENT.sub("", text) if summary.asking_agent else text


def call_words(arguments: str) -> str:
    """Return the arguments of a tool call on one line: a label first, then the first text.

    >>> call_words('{"label": "organization", "new_string": "Agent1: a note"}')
    'organization · Agent1: a note'
    """
    given = arguments_of(arguments)
    if given is None:
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
        return clean_text(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return text


def content_text(content: Any) -> str:
    """Return the text of a message's content, whose pictures are named."""
    return text_in(content, "[picture]")


def _lines(text: Any) -> int:
    return max(1, len(str(text or "").strip("\n").splitlines()))


GLOBALS: dict[str, Any] = {"STATUS": STATUS, "ACCESS": ACCESS}
FILTERS: dict[str, Any] = {
    "ago": ago,
    "iso": iso,
    "exact": exact,
    "number": number,
    "duration": duration,
    "dollars": dollars,
    "plural": plural,
    "author_name": author_name,
    "edit_words": edit_words,
    "like_words": like_words,
    "asked_words": asked_words,
    "call_words": call_words,
    "clipped": clipped,
    "markdown": markdown,
    "bytes": size,
    "pretty": pretty,
    "content_text": content_text,
}
