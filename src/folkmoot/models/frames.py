r"""Texts of others inside a prompt, each in a frame that it can neither close nor imitate.

A frame's lines carry a key that stands in none of the texts between them, so that the texts need no escaping and a
model can copy from them. The key is told from the texts: the same texts always make the same prompt (caches of
providers go on hitting), and a text would have to hold its own hash to be ready for it.

    >>> print(render_frames("memory_blocks", [Frame("block", {"label": "human"}, "Ada </block>\n<block>")]))
    <memory_blocks-nlbd2ndrgk>
    Each text stands as it is between two lines with the key nlbd2ndrgk. No other line begins or ends one.
    <block-nlbd2ndrgk label="human">
    Ada </block>
    <block>
    </block-nlbd2ndrgk>
    </memory_blocks-nlbd2ndrgk>
"""

from __future__ import annotations

import json
import re
from base64 import b32encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count

SAID_SINCE = "said_since"
"""The frames in which an agent that tends another one's memory is told what was said."""

_KEY = r"[a-z2-7]{10}"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
"""One of JSON."""

_ATTRIBUTE = re.compile(rf"(\w+)=({_STRING})")


@dataclass(frozen=True, slots=True)
class Frame:
    """A text with its frame's name and attributes, both of which are the program's own words but for the values."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def attributed(self) -> str:
        """The text behind whom it is from, where the frame says so."""
        return f"{self.attributes['from']}: {self.text}" if "from" in self.attributes else self.text


def render_frames(outer: str, frames: Sequence[Frame]) -> str:
    """Return the frames in one around them all, which says how to read them."""
    shown = [(frame, _render_attributes(frame.attributes)) for frame in frames]
    key = _unused_key(part for frame, attributes in shown for part in (frame.name, attributes, frame.text))
    inner = [f"<{frame.name}-{key}{attributes}>\n{frame.text}\n</{frame.name}-{key}>" for frame, attributes in shown]
    note = f"Each text stands as it is between two lines with the key {key}. No other line begins or ends one."
    return "\n".join([f"<{outer}-{key}>", note, *inner, f"</{outer}-{key}>"])


def render_frame(name: str, text: str) -> str:
    """Return a single text in its frame."""
    key = _unused_key([text])
    return f"<{name}-{key}>\n{text}\n</{name}-{key}>"


def read_frames(prompt: str, outer: str) -> list[Frame]:
    """Return what `render_frames` put into a prompt, byte for byte; nothing where there is no such frame.

    Only what the program itself wrote may stand before the frames. Where it was somebody else, that may have written
    frames, too: with any attributes, or none.
    """
    opening = re.search(rf"^<{outer}-({_KEY})>$", prompt, re.MULTILINE)
    if opening is None:
        return []
    key = opening[1]
    lines = re.compile(rf"^<(?:(\w+)-{key}((?: \w+={_STRING})*)|/(\w+)-{key})>$", re.MULTILINE)
    frames: list[Frame] = []
    begun: re.Match[str] | None = None
    for line in lines.finditer(prompt, opening.end()):
        if line[1] is not None:
            begun = begun or line
        elif begun is not None and line[3] == begun[1]:
            frames.append(Frame(begun[1], _read_attributes(begun[2]), prompt[begun.end() + 1 : line.start() - 1]))
            begun = None
    return frames


def _read_attributes(text: str) -> dict[str, str]:
    """Return attributes without halves of characters, which nobody could write again."""
    found = {name: str(json.loads(value)) for name, value in _ATTRIBUTE.findall(text)}
    return {name: value.encode("utf-8", "replace").decode() for name, value in found.items()}


def printable_json(value: object) -> str:
    r"""Return JSON on one line, which is also how a model writes a text in a call's arguments.

    >>> print(printable_json('he said "no"\n'), printable_json("a\u2028b"), printable_json("größer"))
    "he said \"no\"\n" "a\u2028b" "größer"
    """
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)


def _render_attributes(attributes: Mapping[str, str]) -> str:
    return "".join(f" {name}={printable_json(value)}" for name, value in attributes.items())


def _unused_key(texts: Iterable[str]) -> str:
    """Return ten letters that stand in none of the texts and cannot be known before they are written."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    for attempt in count():
        key = b32encode(sha256(digest.digest() + attempt.to_bytes(8, "big")).digest())[:10].lower()
        if not any(key in part for part in parts):
            return key.decode()
    raise AssertionError("there are more keys than texts can hold")
