"""An admin takes a backup of the whole server over HTTP, while it serves."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from folkmoot.errors import StoreUnavailable
from folkmoot.settings import Settings
from folkmoot.transfer.backup_file import BackupReader
from folkmoot.transfer.backup_stream import stream_backup
from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer, one_store
from support.polling import PATIENCE, until
from support.server import ServerProcess

PATH = "/v1/backup"


def test_it_is_the_whole_database_of_a_running_server(
    server: ServerProcess, new_block: NewBlock, new_agent: NewAgent, tmp_path: Path
) -> None:
    block, agent = new_block(value="thyme by the door"), new_agent()
    file = tmp_path / "taken.folkmoot"
    with httpx.stream("POST", server.url + PATH, timeout=PATIENCE, headers={"accept-encoding": "gzip"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].endswith('.folkmoot"')
        assert "content-encoding" not in answer.headers
        file.write_bytes(b"".join(answer.iter_raw()))
    with closing(BackupReader(file)) as reader:
        shapes = {shape.name: shape for shape in reader.head.tables}
        rows = [row for piece in reader.check() for row in reader.rows_of(piece, shapes[piece.table])]
    assert any(block.id in row and "thyme by the door" in row for row in rows)
    assert any(agent.id in row for row in rows)


@one_store
def test_only_admins_of_a_server_with_one_organisation_may(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "first"})
    with plain_client(server.url) as http:

        def asked(key: str) -> httpx.Response:
            return http.post(PATH, headers={"authorization": f"Bearer {key}"})

        def new_key(role: str, organization: str | None = None, **more: object) -> str:
            made = http.post(
                "/v1/keys",
                headers={"authorization": "Bearer first"},
                json={"name": f"a-{role}", "role": role, "organization": organization, **more},
            )
            made.raise_for_status()
            return str(made.json()["key"])

        assert http.post(PATH).status_code == 401
        for role in ("reader", "member"):
            answer = asked(new_key(role))
            assert (answer.status_code, "needs the role admin" in answer.json()["detail"]) == (403, True)
        assert asked(new_key("admin")).status_code == 200
        http.post("/v1/organizations", headers={"authorization": "Bearer first"}, json={"name": "others"})
        answer = asked(new_key("admin", "others"))
        assert (answer.status_code, "of the default organisation" in answer.json()["detail"]) == (403, True)
        answer = asked("first")
        assert answer.status_code == 403
        assert "There are 2 organisations here" in answer.json()["detail"]


@one_store
def test_one_at_a_time_and_it_ends_with_its_reader(start_server: StartServer) -> None:
    """Nothing stays behind a reader that went away: no process, no file, no lock."""
    server = start_server()
    made = httpx.post(f"{server.url}/v1/blocks", json={"label": "large", "value": ""}).raise_for_status().json()
    with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as database:
        large = "UPDATE blocks SET value = hex(randomblob(12000000)) WHERE id = ?"  # more than pipes and sockets hold
        assert database.execute(large, (made["id"],)).rowcount == 1
        database.commit()
    with httpx.stream("POST", server.url + PATH, timeout=PATIENCE) as first:
        assert first.status_code == 200
        second = httpx.post(server.url + PATH, timeout=PATIENCE)
        assert (second.status_code, second.json()["detail"][:23]) == (409, "A backup is under way. ")
        assert making(server)
    until(lambda: not making(server))
    with httpx.stream("POST", server.url + PATH, timeout=PATIENCE) as third:
        assert third.status_code == 200


def making(server: ServerProcess) -> list[str]:
    """Return the command lines of a server's processes that make backups."""
    commands = []
    for child in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has ended since, and may not have been reaped
            commands.append(" ".join(child.cmdline()))
    return [command for command in commands if "folkmoot backup -" in command]


@one_store
def test_what_cannot_begin_is_an_error_and_no_file(start_server: StartServer) -> None:
    server = start_server()
    with closing(sqlite3.connect(server.database.removeprefix("sqlite:///"))) as broken:
        broken.execute("UPDATE alembic_version SET version_num = '9999'")
        broken.commit()
    answer = httpx.post(server.url + PATH, timeout=PATIENCE)
    assert answer.status_code == 503
    assert "has schema 9999" in answer.json()["detail"]
    assert "A newer Folkmoot has written it" in answer.json()["detail"]


async def test_one_that_says_much_is_not_held_up_and_its_last_line_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says goes into a pipe, which is full at once: somebody has to read it before the backup's end."""
    program = tmp_path / "says-much"
    said = "print('Said amid the work. ' * 100_000, 'folkmoot: It broke.', sep='\\n', file=sys.stderr)"
    program.write_text(f"#!{sys.executable} -S\nimport sys\n{said}\nsys.stdout.write('a piece')\nsys.exit(1)\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    pieces = stream_backup(Settings(data=tmp_path))
    async with asyncio.timeout(30):
        assert await anext(pieces) == b"a piece"
        with pytest.raises(StoreUnavailable, match=r"^The backup failed: It broke\.$"):
            await anext(pieces)
