"""Packages that code asks for, as names and versions and nothing else: no options, paths or addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from folkmoot.errors import InvalidInput

Kind = Literal["pip", "npm"]

MOST_REQUIREMENTS = 64
LONGEST_REQUIREMENT = 200
_NPM_NAME = r"(?:@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*"
_NPM = re.compile(rf"({_NPM_NAME})(?:@([A-Za-z0-9.^~<>=|*+ -]+))?")


def read_requirements(kind: Kind, texts: Sequence[str]) -> tuple[str, ...]:
    """Return packages in one form and order, so that equal sets are equal.

    >>> read_requirements("pip", ["Requests >=2", "six"])
    ('requests>=2', 'six')

    Raises:
        InvalidInput: one is not a package with a version, or there are too many; the message names it.
    """
    field = f"{kind}_requirements"
    if len(texts) > MOST_REQUIREMENTS:
        raise InvalidInput(f"{field}: {len(texts)} packages; at most {MOST_REQUIREMENTS} can be named.")
    for text in texts:
        if len(text) > LONGEST_REQUIREMENT:
            raise InvalidInput(f"{field}: {text[:40]!r}… is longer than {LONGEST_REQUIREMENT} characters.")
    read = _read_pip if kind == "pip" else _read_npm
    return tuple(sorted({read(text.strip(), field) for text in texts}))


def _read_pip(text: str, field: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise InvalidInput(
            f"{field}: {text!r} is no package; write its name and version such as requests>=2.31,<3, without options "
            "and paths."
        ) from error
    if requirement.url is not None:
        raise InvalidInput(f"{field}: {text!r} names an address; packages come from the package index, by name.")
    requirement.name = canonicalize_name(requirement.name)
    return str(requirement)


def _read_npm(text: str, field: str) -> str:
    found = _NPM.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"{field}: {text!r} is no package; write its name and version such as zod@3 or @scope/name@^1.2, without "
            "options, paths and addresses."
        )
    return f"{found[1]}@{' '.join(found[2].split())}" if found[2] else found[1]
