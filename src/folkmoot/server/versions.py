"""A block's version as an entity tag: `ETag: "7"` on what is read, `If-Match: "7"` on what is written."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from fastapi import Depends, Header

from folkmoot.errors import InvalidInput


def version_header(version: int) -> dict[str, str]:
    """Return the header that tells a block's version."""
    return {"ETag": f'"{version}"'}


async def read_expected(
    if_match: Annotated[str | None, Header(description='Only write when the block is at this version: `"7"`.')] = None,
) -> int | None:
    """Return the version that the request expects, None when it takes any.

    Raises:
        InvalidInput: the header is not a version.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = re.fullmatch(r'"?(\d{1,9})"?', if_match.strip())
    if match is None:
        raise InvalidInput(f'If-Match: {if_match!r} is not a version; send the ETag you were given, such as "7".')
    return int(match[1])


ExpectedVersion: TypeAlias = Annotated[int | None, Depends(read_expected)]
