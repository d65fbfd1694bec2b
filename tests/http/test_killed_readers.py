"""A process that is killed while it reads a file leaves nothing half, and its job is taken up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from uuid import uuid4

import httpx
import pytest
from uploading import follow, text_of, when_read

from support.clients import plain_client
from support.fixtures import StartServer, one_store
from support.polling import until

EMBEDDING = "openai/text-embedding-3-small"
TEXT = "".join(f"line {number} of a text that takes some time to read\n" for number in range(8_000))
BEFORE = "the text before\n"


def job(http: httpx.Client, kind: str = "file") -> dict[str, Any]:
    """Return the newest job of a kind."""
    return next((each for each in http.get("/v1/jobs").json() if each["kind"] == kind), {"status": None})


STAGES: dict[str, Callable[[httpx.Client], bool]] = {
    "before anything": lambda http: True,
    "while it is read": lambda http: bool(job(http)["progress"]["items_done"]),
    "when it is read": lambda http: job(http)["status"] == "completed",
    "while it is embedded": lambda http: bool((job(http, "file_embedding").get("progress") or {}).get("items_done")),
}


@one_store
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_killed_process_has_begun_is_done_by_the_next(start_server: StartServer, stage: str) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f", "embedding": EMBEDDING}).json()
        address = f"/v1/folders/{folder['id']}/upload"
        first = http.post(address, files={"file": ("a.txt", BEFORE.encode())}).json()
        assert when_read(http, first)["version"] == 1
        again = {"duplicate_handling": "replace"}
        file = http.post(address, params=again, files={"file": ("a.txt", TEXT.encode())}).json()
        while not STAGES[stage](http):
            pass
        server.kill()
        server.restart()
        seen = {text_of(http, file)}
        done = when_read(http, file)
        seen.add(text_of(http, file))
        assert seen <= {BEFORE, TEXT}, "never half a text"
        assert text_of(http, file) == TEXT
        assert (done["processing_status"], done["version"]) == ("completed", 2)
        assert done["chunks_embedded"] == done["total_chunks"]
        follow(http, "/v1/jobs/active", lambda found: found == [])
        with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as database:

            def count(table: str, where: str = "1") -> int:
                row = database.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
                return int(row[0])

            assert count("file_pieces") == 0
            assert count("file_chunks") == count("file_chunks", "version = 2") == done["total_chunks"]
            assert count("file_vectors") == done["total_chunks"]


@one_store
def test_a_folder_that_was_embedded_anew_when_its_process_was_killed_is_done_by_the_next(
    start_server: StartServer,
) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f", "embedding": EMBEDDING}).json()
        address = f"/v1/folders/{folder['id']}"
        sent = http.post(f"{address}/upload", files={"file": ("a.txt", TEXT.encode())}).json()
        total = when_read(http, sent)["total_chunks"]
        http.patch(address, json={"embedding": "openai/text-embedding-3-large"}).raise_for_status()
        follow(http, f"{address}/files/{sent['id']}", lambda now: now["chunks_embedded"] > 0)
        server.kill()
        server.restart()
        follow(http, "/v1/jobs/active", lambda found: found == [])
        assert when_read(http, sent)["chunks_embedded"] == total
        with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as database:
            vectors = "SELECT count(*), count(DISTINCT version), count(DISTINCT chunk_id) FROM file_vectors"
            assert database.execute(vectors).fetchone() == (total, 1, total)
            earlier = "SELECT embedding, earlier_embedding, earlier_version FROM folders"
            assert database.execute(earlier).fetchone() == ("openai/text-embedding-3-large", None, None)


@one_store
def test_a_document_that_lay_open_when_its_process_was_killed_is_deleted_by_the_next(
    start_server: StartServer,
) -> None:
    server = start_server()
    page = f"<html><body>{uuid4()}{'<p>words</p>' * 50_000}".encode()

    def lying() -> list[Path]:
        """Return where the page lies; other tests' documents lie beside it, and end while they are looked at."""
        found = []
        for each in Path(gettempdir()).glob("folkmoot-file-*/shown/document"):
            with suppress(OSError):
                found += [each] if each.read_bytes() == page else []
        return found

    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f"}).json()
        file = http.post(f"/v1/folders/{folder['id']}/upload", files={"file": ("a.html", page)}).json()
        until(lying)
        server.kill()
        server.restart()
        assert when_read(http, file)["processing_status"] == "completed"
        assert not lying()


@one_store
def test_an_upload_that_is_cut_off_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f"}).json()
        address = f"/v1/folders/{folder['id']}/upload"

        def cut_off() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            yield b"x" * 3_000_000
            raise ConnectionError

        with pytest.raises(ConnectionError):
            http.post(address, content=cut_off(), headers={"content-type": "multipart/form-data; boundary=b"})
        assert http.get(f"/v1/folders/{folder['id']}/files").json() == []
        again = http.post(address, files={"file": ("a.txt", b"whole")})
        assert when_read(http, again.json())["processing_status"] == "completed"
        follow(http, "/v1/jobs/active", lambda found: found == [])
        with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as database:
            assert database.execute("SELECT count(*) FROM file_pieces").fetchone()[0] == 0


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_another_process_takes_over(start_server: StartServer, database_url: str) -> None:
    servers = [start_server(), start_server(database=database_url)]
    with plain_client(servers[0].url) as one, plain_client(servers[1].url) as other:
        folder = one.post("/v1/folders", json={"name": "f"}).json()
        file = one.post(f"/v1/folders/{folder['id']}/upload", files={"file": ("a.txt", TEXT.encode())}).json()
        while not STAGES["while it is read"](other):
            pass
        servers[0].kill()  # which of the two reads it is chance; the file is read in any case
        done = when_read(other, file)
        assert (done["processing_status"], text_of(other, file)) == ("completed", TEXT)
