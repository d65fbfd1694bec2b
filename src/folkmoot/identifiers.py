"""Identifiers of the form `<kind>-<uuid4>`, as in `block-5d8fe4ff-4928-44d5-872f-d2db8ce0f5bb`."""

from __future__ import annotations

import re
from hashlib import sha256
from uuid import UUID, uuid4

from folkmoot.errors import MalformedId

ORGANIZATION = "org-00000000-0000-4000-8000-000000000000"
"""The default organisation, which every server has."""

EXAMPLE_UUID = "123e4567-e89b-42d3-8456-426614174000"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_PATTERN = re.compile(rf"([a-z_]+(?:-[a-z]+)?)-{_UUID}", re.IGNORECASE)


def new_id(kind: str) -> str:
    """Return a fresh identifier: `new_id("block")` gives `block-<uuid4>`."""
    return f"{kind}-{uuid4()}"


def derived_id(kind: str, *names: str) -> str:
    """Return the identifier that these names always have, for what others name in their own way.

    >>> derived_id("conv", "agent", "chat 1")
    'conv-4e14b99f-699e-470e-95c5-3d2b5e513df5'
    """
    digest = sha256("\0".join(names).encode()).digest()
    return f"{kind}-{UUID(bytes=digest[:16], version=4)}"


def user_of(organization_id: str) -> str:
    """Return the one user of an organisation, whom the wire format attributes what it has to.

    >>> user_of("org-00000000-0000-4000-8000-000000000000")
    'user-00000000-0000-4000-8000-000000000000'
    """
    return f"user-{organization_id.partition('-')[2]}"


def check_id(kind: str, value: str, field: str | None = None) -> str:
    """Return `value` when it is an identifier of `kind`.

    Args:
        kind: what the identifier names, for example `"block"`.
        value: the identifier as it came in.
        field: the name of the field or path parameter, for the error; `<kind>_id` when None.

    Raises:
        MalformedId: it is not `<kind>-<uuid4>`; the error carries an example.
    """
    match = _PATTERN.fullmatch(value)
    if match is None or match[1].lower() != kind:
        example = f"{kind}-{EXAMPLE_UUID}"
        shown = value if len(value) <= 80 else value[:80] + "…"
        raise MalformedId(
            f"{field or kind + '_id'}: {shown!r} is not an identifier of the kind '{kind}'; it looks like {example!r}.",
            examples=[example],
        )
    return value
