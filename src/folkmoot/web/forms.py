"""What a form's fields hold, and what is wrong with which of them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import ValidationError

from folkmoot.errors import FolkmootError


def text_of(form: Mapping[str, list[str]], name: str) -> str:
    """Return a field's text, empty when the form has no such field."""
    return form.get(name, [""])[0]


def choices(text: str) -> list[str]:
    """Return the words of a field that takes several, separated by commas.

    >>> choices("research, demo ,,")
    ['research', 'demo']
    """
    return [word.strip() for word in text.split(",") if word.strip()]


def fingerprint(value: object) -> str:
    """Return a short text that differs where values, such as a form's texts by their names, do.

    >>> fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"}) != fingerprint({"a": "1", "b": ""})
    True
    """
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class SettingsForm:
    """A form of settings as it is shown: what it holds, and what became of it."""

    values: Mapping[str, str]
    seen: str
    """The fingerprint of the settings that it was begun from."""

    theirs: Mapping[str, str] = field(default_factory=dict)
    """What differs from it in settings that somebody else has changed meanwhile."""

    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def overtaken(cls, values: Mapping[str, str], now: Mapping[str, str]) -> SettingsForm:
        """Return a form that somebody else's change came before: sent once more, it is written over that."""
        theirs = {name: text for name, text in now.items() if text != values[name]}
        return cls(values, fingerprint(now), theirs)


def problems_of(error: ValidationError | FolkmootError, fields: Collection[str]) -> dict[str, str]:
    """Return what is wrong by field; what belongs to none of `fields` stands under the empty name."""
    if isinstance(error, FolkmootError):
        field, colon, rest = error.message.partition(": ")
        return {field: rest} if colon and field in fields else {"": error.message}
    problems: dict[str, str] = {}
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else ""
        problems.setdefault(field if field in fields else "", sentence(problem["msg"]))
    return problems


def sentence(message: str) -> str:
    """Return pydantic's words as a sentence for people.

    >>> sentence("String should have at least 1 character"), sentence("Value error, is too odd")
    ('Fill this in.', 'Is too odd.')
    """
    if "should have at least 1 " in message:
        return "Fill this in."
    if "valid integer" in message:
        return "Write a whole number, such as 4000."
    message = re.sub(r"^Value error, ", "", message)
    message = re.sub(r"^(String|Input|Value) should", "This should", message)
    return message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")
