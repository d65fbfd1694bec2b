"""Folders and uploads in tests: making them, and waiting until files are read, as a program does: by looking again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import httpx

from support.polling import until


class NewFolder(Protocol):
    """Makes a folder on the shared server."""

    def __call__(self, **fields: Any) -> dict[str, Any]:
        """Make one; it has a name of its own where `fields` do not say one."""
        ...


class Upload(Protocol):
    """Uploads a file to the shared server."""

    def __call__(
        self, folder: dict[str, Any], file_name: str, data: bytes | str, *, wait: bool = True, **query: Any
    ) -> dict[str, Any]:
        """Upload it, and return it as it is then; with `wait`, when it was read or could not be."""
        ...


def follow(http: httpx.Client, address: str, is_so: Callable[[Any], bool]) -> Any:
    """Return what is at an address once it is so."""
    return until(lambda: http.get(address).raise_for_status().json(), is_so)


def when_read(http: httpx.Client, file: dict[str, Any]) -> dict[str, Any]:
    """Return a file when its newest upload was read, or could not be."""
    address = f"/v1/folders/{file['source_id']}/files/{file['id']}"
    found: dict[str, Any] = follow(http, address, lambda now: now["processing_status"] in ("completed", "error"))
    return found


def text_of(http: httpx.Client, file: dict[str, Any]) -> str | None:
    """Return a file's whole text."""
    address = f"/v1/folders/{file['source_id']}/files/{file['id']}"
    text: str | None = http.get(address, params={"include_content": True}).raise_for_status().json()["content"]
    return text
