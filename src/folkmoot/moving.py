"""`folkmoot backup`, `restore`, `copy` and `import`: they work with the database itself, server or no server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from folkmoot.errors import FolkmootError, StartupError
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.settings import Settings, read_environ, read_settings
from folkmoot.store.bulk_opening import has_rows, refuse_served
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.transfer import backup
from folkmoot.transfer.backup import Moved, Progress
from folkmoot.transfer.retired.context import Taken
from folkmoot.transfer.retired.source import open_source
from folkmoot.transfer.retired.taking import Import

STANDARD_OUTPUT = Path("-")

POLITE = 10
"""How much a server that shares the processor comes before a backup of its database, as `nice` counts."""


def run(command: Coroutine[Any, Any, None]) -> int:
    """Run a command of this module and return the process's exit code."""
    os.umask(0o077)  # whatever is made is for its owner alone
    try:
        asyncio.run(command)
    except FolkmootError as error:
        _note(f"folkmoot: {error.message}")
        return 1
    return 0


async def back_up(file: Path, database: str | None) -> None:
    """Write a backup, to the standard output where the file is `-`, and say what is in it."""
    os.nice(POLITE)
    settings = _settings(database)
    key = _fingerprint(settings)
    with _progress() as progress:
        if file == STANDARD_OUTPUT:
            moved = await _write_out(settings.database_url, key, progress)
            _note(f"{moved.total:,} rows.")
        else:
            moved = await backup.back_up(settings.database_url, file.absolute(), key, progress)
            _tell(f"{file}: {moved.total:,} rows, {file.stat().st_size:,} bytes.")
    if key is None:
        _note(
            "No key is here that secrets would be sealed with (FOLKMOOT_SECRET_KEY, or secret.key in the data folder)."
        )
    else:
        _note(f"Secrets in it are sealed with the key {key}, which is not in the file: keep that too.")


async def _write_out(url: str, key: str | None, progress: Progress) -> Moved:
    try:
        moved = await backup.write_backup(url, sys.stdout.buffer, key, progress)
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        raise StartupError("Nobody reads the backup any more.") from error
    return moved


async def restore(file: Path, database: str | None, *, replace: bool) -> None:
    """Fill a database from a backup and say what was in it; what is replaced is backed up first."""
    settings = _settings(database)
    with _progress() as progress:
        if replace and await has_rows(settings.database_url):
            await refuse_served(settings.database_url)
            kept = settings.data_folder / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}.folkmoot"
            await backup.back_up(settings.database_url, kept.absolute(), _fingerprint(settings), progress)
            _note(f"What was there is kept in {kept}.")
        moved = await backup.restore(file, settings.database_url, replace=replace, progress=progress)
    _tell_rows(moved)
    at_hand = _fingerprint(settings)
    if moved.key is not None and moved.key != at_hand:
        here = f"the one here is {at_hand}" if at_hand else "none is here"
        _note(
            f"Secrets in this backup are sealed with the key {moved.key}, and {here}: agents' secret variables cannot "
            "be read until FOLKMOOT_SECRET_KEY, or secret.key in the data folder, is that key."
        )


async def copy(source: str, target: str) -> None:
    """Copy a database to another and say what was in it."""
    with _progress() as progress:
        moved = await backup.copy(source, target, progress)
    _tell_rows(moved)


async def take_over(
    source: str,
    database: str | None,
    organization: str | None,
    only: Collection[str],
    since: datetime | None,
    *,
    dry_run: bool,
) -> None:
    """Take the retired server's database over, and say table by table what came and what could not."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    settings, environ = _settings(database), read_environ()
    secret = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    sealer, directory = Sealer(secret, settings.data_folder), Directory(environ)
    catalogue = Catalogue(settings, environ, directory=directory)
    store = await open_store(settings.database_url, settings.store_wait, settings.database_connections)
    try:
        await directory.open(store, sealer)
        with _progress() as progress:
            async with open_source(source) as found:
                passphrase = environ.get("LETTA_ENCRYPTION_KEY") or None
                _note(f"The database to import has the schema {found.schema}.")
                done = await Import(
                    source=found,
                    store=store,
                    sealer=sealer,
                    catalogue=catalogue,
                    directory=directory,
                    passphrase=passphrase,
                    progress=progress,
                    dry_run=dry_run,
                    organization=organization,
                    only=only,
                    since=since,
                ).run()
    finally:
        await directory.close()
        await catalogue.aclose()
        await store.close()
    _tell_taken(done, dry_run=dry_run)


def _tell_taken(done: Taken, *, dry_run: bool) -> None:
    for problem in done.problems:
        _note(problem)
    _tell(f"{'table'.ljust(30)}  {'source':>10}  {'taken':>10}  {'there':>10}  {'told':>10}")
    for table, count in sorted(done.source.items()):
        if count and table != "alembic_version":
            figures = (count, done.taken[table], done.there[table], done.refused[table])
            _tell(f"{table.ljust(30)}  " + "  ".join(f"{figure:>10,}" for figure in figures))
    _tell(f"checksum of the messages in the source  {done.checksum}")
    if dry_run:
        _note("Nothing was written (--dry-run).")
        return
    _tell(f"checksum of the same messages here      {done.checksum_here}")
    if done.checksum != done.checksum_here:
        raise StartupError("The messages here are not those of the source. Please report this.")


def _settings(database: str | None) -> Settings:
    return read_settings({} if database is None else {"database": database})


def _fingerprint(settings: Settings) -> str | None:
    secret = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    return Sealer(secret, settings.data_folder).fingerprint()


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a bar for each thing that is done, with its rate and the time left, where somebody can see it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Bars(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _tell_rows(moved: Moved) -> None:
    width = max(map(len, moved.rows), default=0)
    for table, count in moved.rows.items():
        if count:
            _tell(f"{table.ljust(width)}  {count:>12,}")
    _tell(f"{'all'.ljust(width)}  {moved.total:>12,}")


def _tell(text: str) -> None:
    print(text)  # noqa: T201 - this is the terminal


def _note(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - this is the terminal
