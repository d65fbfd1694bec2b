"""The `folkmoot` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

application = typer.Typer(
    name="folkmoot",
    help="A self-hosted server for stateful agents that share memory.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from folkmoot import __version__

        typer.echo(f"folkmoot {__version__}")
        raise typer.Exit


@application.callback()
def folkmoot(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """A self-hosted server for stateful agents that share memory."""


@application.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. [8283]")] = None,
    database: Annotated[
        str | None, typer.Option(help="sqlite:///path or postgresql://… [a file in the data folder]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes; more than one needs PostgreSQL. [1]")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the embedded database. [~/.folkmoot]")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on a public address without an API key.")
    ] = False,
) -> None:
    """Start the server. Each option is also a FOLKMOOT_* variable."""
    from folkmoot.serving import serve as run

    options = {
        "host": host,
        "port": port,
        "database": database,
        "workers": workers,
        "data": data,
        "insecure": insecure or None,
    }
    sys.exit(run({name: value for name, value in options.items() if value is not None}))


@application.command()
def demo(
    model: Annotated[
        str | None, typer.Option(help="Handle of the model. [the first configured one, else the offline one]")
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Run an example in its place: research_team, policy_board, task_coordination or specialists.",
        ),
    ] = None,
) -> None:
    """Run the shared-memory tutorial, or an example, on a server of its own and show what happens."""
    from folkmoot.demo import run

    sys.exit(run(model, example))


def main() -> None:
    """Run the command."""
    application()
