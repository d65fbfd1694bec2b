"""A disk that is full: the kernel says so, the upload is answered 507, and there is room again for a smaller one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from uploading import text_of, when_read

from support.server import ServerProcess

MEGABYTE = 1_000_000
ON_SMALL_DISK = 'mount -t tmpfs -o size=32m tmpfs "$1" && cd "$1" && shift && exec "$@"'
"""Runs a command where a folder is a disk of its own, of 32 MB, that nobody else sees."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose database is on a disk of 32 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    through = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_SMALL_DISK, "sh", str(disk)]
    if subprocess.run([*through, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This machine lets nobody mount a disk of their own.")
    database = f"sqlite:///{disk / 'folkmoot.sqlite3'}"
    with ServerProcess(database=database, home=tmp_path / "home", through=through) as server:
        yield server


def test_an_upload_that_fills_the_disk_is_answered_507_and_leaves_its_room(small_disk: ServerProcess) -> None:
    with httpx.Client(base_url=small_disk.url, timeout=60) as http:
        folder = http.post("/v1/folders", json={"name": "a"}).json()
        address = f"/v1/folders/{folder['id']}/upload"
        large = http.post(address, files={"file": ("large.txt", b"the heron stands\n" * (48 * MEGABYTE // 17))})
        assert large.status_code == 507, large.text
        assert "no room on the server" in large.json()["detail"]
        assert http.get(f"/v1/folders/{folder['id']}/files").json() == []
        assert http.get("/v1/health/").json()["status"] == "ok"
        small = http.post(address, files={"file": ("small.txt", b"the heron stands still\n" * 40_000)}).json()
        assert when_read(http, small)["processing_status"] == "completed", small_disk.log()[-3000:]
        assert len(text_of(http, small) or "") == 23 * 40_000
