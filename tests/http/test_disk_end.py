"""A disk that is full: an upload is answered 507, every other change 503, and all goes on when there is room again."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from uploading import text_of, when_read

from support.clients import plain_client
from support.server import ServerProcess

ON_SMALL_DISK = 'mount -t tmpfs -o size=64m tmpfs "$1" && cd "$1" && shift && exec "$@"'
"""Runs a command where a folder is a disk of its own, of 64 MB, that nobody else sees."""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Where the server has its disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def server_on_disk(disk: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose database is on a disk of 64 MB."""
    through = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ON_SMALL_DISK, "sh", str(disk)]
    if subprocess.run([*through, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This machine lets nobody mount a disk of their own.")
    database = f"sqlite:///{disk / 'folkmoot.sqlite3'}"
    with ServerProcess(database=database, home=tmp_path / "home", through=through) as server:
        yield server


def fill(filler: Path) -> None:
    """Write until the kernel says that the disk is full."""
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError) as full:
        while True:
            file.write(b"x" * 65_536)
    assert full.value.errno == errno.ENOSPC


def test_an_upload_without_room_is_answered_507_and_leaves_nothing(server_on_disk: ServerProcess, disk: Path) -> None:
    filler = Path(f"/proc/{server_on_disk.process.pid}/root") / disk.relative_to("/") / "filler"
    with plain_client(server_on_disk.url) as http:
        folder = http.post("/v1/folders", json={"name": "a"}).json()
        address = f"/v1/folders/{folder['id']}/upload"
        large = http.post(address, files={"file": ("large.txt", b"the heron stands\n" * 1_000_000)})
        assert large.status_code == 507, large.text
        assert "no room on the server" in large.json()["detail"]
        fill(filler)
        small = {"file": ("small.txt", b"the heron stands still\n" * 40_000)}
        assert http.post(address, files=small).status_code == 507
        block = {"label": "a", "value": "x" * 50_000, "limit": 100_000}
        refused = [http.post("/v1/blocks", json=block) for _ in range(20)][-1]  # what is left of a page may do for some
        assert (refused.status_code, "full" in refused.json()["detail"]) == (503, True), refused.text
        assert http.get(f"/v1/folders/{folder['id']}/files").json() == []
        filler.unlink()
        read = when_read(http, http.post(address, files=small).json())
        assert read["processing_status"] == "completed", server_on_disk.log()[-3000:]
        assert len(text_of(http, read) or "") == 23 * 40_000
        assert http.post("/v1/blocks", json=block).status_code == 200
