"""What a form's fields hold, and what is wrong with which of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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


def problems_of(error: ValidationError | FolkmootError, fields: Collection[str]) -> dict[str, str]:
    """Return what is wrong by field; what belongs to none of `fields` stands under the empty name."""
    if isinstance(error, FolkmootError):
        field, colon, rest = error.message.partition(": ")
        return {field: rest} if colon and field in fields else {"": error.message}
    problems: dict[str, str] = {}
    for problem in error.errors():
        field = str(problem["loc"][0]) if problem["loc"] else ""
        problems.setdefault(field if field in fields else "", _sentence(problem["msg"]))
    return problems


def _sentence(message: str) -> str:
    """Return pydantic's words as a sentence for people.

    >>> _sentence("String should have at least 1 character"), _sentence("Value error, is too odd")
    ('Fill this in.', 'Is too odd.')
    """
    if "should have at least 1 " in message:
        return "Fill this in."
    if "valid integer" in message:
        return "Write a whole number, such as 4000."
    message = re.sub(r"^Value error, ", "", message)
    message = re.sub(r"^(String|Input|Value) should", "This should", message)
    return message[:1].upper() + message[1:] + ("" if message.endswith(".") else ".")
