"""Folders and uploads on the shared server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from uploading import NewFolder, Upload, when_read


@pytest.fixture
def new_folder(http: httpx.Client) -> NewFolder:
    """Make a folder: `new_folder(description="…")`."""

    def make(**fields: Any) -> dict[str, Any]:
        answer = http.post("/v1/folders", json={"name": f"folder_{uuid4().hex[:12]}", **fields})
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    return make


@pytest.fixture
def upload(http: httpx.Client) -> Upload:
    """Upload a file: `upload(folder, "a.txt", "text")`."""

    def send(
        folder: dict[str, Any], file_name: str, data: bytes | str, *, wait: bool = True, **query: Any
    ) -> dict[str, Any]:
        content = data.encode() if isinstance(data, str) else data
        answer = http.post(f"/v1/folders/{folder['id']}/upload", params=query, files={"file": (file_name, content)})
        assert answer.status_code == 200, answer.text
        file: dict[str, Any] = answer.json()
        return when_read(http, file) if wait else file

    return send
