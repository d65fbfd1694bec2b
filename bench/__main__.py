"""`python -m bench`: run the benchmark and print one table."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from bench import bars, code, install, moving, passages, table, tool_servers
from bench.backups import Backups
from bench.bars import Figure
from bench.costs import Costs
from bench.door import door_figures
from bench.hold_ups import HoldUps
from bench.http import Client
from bench.measuring import Timing, timed
from bench.processes import Running, folkmoot, helper, postgres
from bench.streams import KINDS, Streams
from bench.uploads import Uploads
from bench.work import SIZES, Bench, Size

CONNECTIONS = 32
ABOUT_GENERATOR = (
    "The load generator itself reaches {rate:,.0f} requests a second over {connections} connections to a bare "
    "application; it shares the machine with the server and the model."
)
ABOUT_BARS = (
    "The bars are the retired server's figures divided or multiplied by the ratio that was asked for. They were taken "
    "on another machine, and absolute times do not travel."
)
console = Console(width=None if sys.stdout.isatty() else 150)


class StoreChoice(StrEnum):
    """On what to measure."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"
    BOTH = "both"


class SizeChoice(StrEnum):
    """How much to measure."""

    FULL = "full"
    QUICK = "quick"
    SMALLEST = "smallest"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="The same as --size quick.")] = False,
    size: Annotated[SizeChoice, typer.Option(help="How often the work is done, and how far growth goes.")] = (
        SizeChoice.FULL
    ),
    store: Annotated[StoreChoice, typer.Option(help="On what to measure.")] = StoreChoice.BOTH,
    database: Annotated[
        str | None, typer.Option(help="An empty PostgreSQL database, instead of one of the benchmark's own.")
    ] = None,
    with_install: Annotated[
        bool, typer.Option("--install", help="Also measure what pip installs; takes a minute.")
    ] = False,
    with_moving: Annotated[
        bool,
        typer.Option(
            "--moving",
            help="Also measure an import of 100,000 messages, and backup, restore and copy of them; takes minutes.",
        ),
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the table into this page, between its bench marks.")
    ] = None,
) -> None:
    """Measure Folkmoot from outside, over HTTP, with a scripted model that answers at once."""
    chosen = SizeChoice.QUICK if quick and size is SizeChoice.FULL else size
    begun = time.monotonic()
    figures, notes = run(SIZES[chosen], store, database)
    minutes = (time.monotonic() - begun) / 60
    notes.insert(0, f"{chosen} run on {_machine()}, in {minutes:.0f} minutes.")
    if with_install:
        figures += install.measure()
    if with_moving:
        figures += moving.measure()
    notes += [
        f"{figure.name.strip()}, {figure.store}: {count} times {error}"
        for figure in figures
        if figure.timing
        for error, count in figure.timing.errors.items()
    ]
    console.print()
    table.show(figures, notes, console)
    if json_file is not None:
        json_file.write_text(json.dumps(table.as_json(figures, notes), indent=1))
    if markdown is not None:
        table.write_markdown(markdown, table.markdown(figures, notes))
    if any(figure.errors for figure in figures):
        raise typer.Exit(1)


def run(size: Size, store: StoreChoice, database: str | None) -> tuple[list[Figure], list[str]]:
    """Measure everything on the chosen stores; return the figures, and notes for under the table."""
    loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    figures: list[Figure] = []
    helpers = helper("bench.model"), helper("bench.readers"), helper("bench.asking")
    with loop as runner, helpers[0] as model, helpers[1] as readers, helpers[2] as asking:
        with helper("bench.bare") as bare:
            reach = runner.run(_calibrate(bare.url, size.reads_at_once))
        notes = [ABOUT_GENERATOR.format(rate=reach.rate, connections=CONNECTIONS), ABOUT_BARS]
        for kind in ("sqlite", "postgres"):
            if store in (kind, "both"):
                with _database(kind, database) as (url, folder):
                    addresses = Addresses(model.url, readers.url, asking.url)
                    with folkmoot(url, folder, model.url) as server:
                        figures += _measure_store(runner, kind, url, folder, server, addresses, size)
                    for streams in KINDS:
                        with folkmoot(url, folder, model.url) as server:
                            figures += runner.run(_measure_streams(streams, kind, server, addresses, size))
                    figures += runner.run(passages.measure(url, kind, size.passages, size.searches))
        figures += code.measure(runner, size.code_calls)
        figures += tool_servers.measure(runner, size.tool_calls)
    return figures, notes


async def _calibrate(url: str, count: int) -> Timing:
    client = Client(url)
    await timed(CONNECTIONS, CONNECTIONS, lambda _: client.get("/"))
    timing = await timed(count, CONNECTIONS, lambda _: client.get("/"))
    await client.aclose()
    return timing


@contextmanager
def _database(kind: str, given: str | None) -> Iterator[tuple[str, Path]]:
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as name:
        folder = Path(name)
        if kind == "sqlite":
            yield f"sqlite:///{folder / 'bench.sqlite3'}", folder
        elif given is not None:
            yield given, folder
        else:
            with postgres() as url:
                yield url, folder


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the helpers are."""

    model: str
    readers: str
    asking: str


def _measure_store(
    runner: asyncio.Runner, kind: str, url: str, folder: Path, server: Running, helpers: Addresses, size: Size
) -> list[Figure]:
    figures: list[Figure] = []

    def add(figure: Figure) -> None:
        figures.append(figure)
        _print(figure)

    async def measure() -> None:
        client, model, asking = Client(server.url), Client(helpers.model), Client(helpers.asking)
        bench = Bench(client, model, kind, size)
        async for figure in bench.work():
            add(figure)
        add(Figure(bars.RESIDENT, kind, value=server.resident(), unit="MB"))
        with helper("bench.framework") as framework:
            async for figure in Costs(client, server, framework, kind, size).figures():
                add(figure)
        async for figure in door_figures(client, kind, size.edits):
            add(figure)
        async for figure in Uploads(client, kind, size).figures():
            add(figure)
        async for figure in HoldUps(client, asking, server, kind, size).figures():
            add(figure)
        async for figure in bench.growth():
            add(figure)
        async for figure in Backups(client, kind, url, folder, size).figures():
            add(figure)
        for each in (client, model, asking):
            await each.aclose()

    add(Figure(bars.COLD_START, kind, value=server.cold_start, unit="s", note="empty database"))
    add(Figure(bars.RESIDENT_IDLE, kind, value=server.resident(), unit="MB"))
    runner.run(measure())
    return figures


async def _measure_streams(
    measure: Callable[[Streams], Awaitable[list[Figure]]], kind: str, server: Running, helpers: Addresses, size: Size
) -> list[Figure]:
    """Measure one kind of stream on a server that has done nothing else."""
    client, readers = Client(server.url), Client(helpers.readers)
    figures = await measure(Streams(client, readers, server, kind, size))
    for each in (client, readers):
        await each.aclose()
    for figure in figures:
        _print(figure)
    return figures


def _print(figure: Figure) -> None:
    console.print("[dim]" + "  ".join(filter(None, table.cells(figure))) + "[/]", highlight=False)


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


if __name__ == "__main__":
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(main)
    application()
