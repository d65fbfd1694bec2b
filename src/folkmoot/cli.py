"""The `folkmoot` command."""

from __future__ import annotations

import gc
import os
import sys
from datetime import datetime
from enum import StrEnum
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
            help="Run an example in its place: research_team, policy_board, task_coordination, "
            "shared_library or specialists.",
        ),
    ] = None,
) -> None:
    """Run the shared-memory tutorial, or an example, on a server of its own and show what happens."""
    from folkmoot.demo import run

    sys.exit(run(model, example))


@application.command()
def chat(
    agent: Annotated[str, typer.Argument(help="Its name or identifier.")],
    message: Annotated[
        str | None, typer.Option("--message", "-m", help="Say this, show what comes of it, and end. [read lines]")
    ] = None,
) -> None:
    """Talk to an agent of the running server: replies as they are spoken, its tools, and what waits for you."""
    from folkmoot import terminal

    sys.exit(terminal.run(terminal.chat, agent, message))


@application.command()
def blocks(
    block: Annotated[str | None, typer.Argument(help="Label or identifier of one. [a list of all]")] = None,
) -> None:
    """List the blocks of the running server, or show one, each line with who wrote it."""
    from folkmoot import terminal

    sys.exit(terminal.run(terminal.blocks, block))


@application.command()
def runs(
    agent: Annotated[str | None, typer.Option(help="Only of this agent: its name or identifier.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    since: Annotated[str | None, typer.Option(metavar="12h", help="Only those made since: m, h, d or w ago.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
) -> None:
    """List the newest runs of the running server."""
    from folkmoot import terminal

    sys.exit(terminal.run(lambda client: terminal.runs(client, agent, limit, since, failed=failed)))


@application.command()
def watch(block: Annotated[str, typer.Argument(help="Its label or identifier.")]) -> None:
    """Show the changes of a block as they come: who wrote, when, which lines."""
    from folkmoot import terminal

    sys.exit(terminal.run(terminal.watch, block))


OfDatabase = Annotated[str | None, typer.Option(help="sqlite:///path or postgresql://… [as `serve` takes it]")]


@application.command()
def backup(
    file: Annotated[
        Path, typer.Argument(help="The file to write, which must not be there yet; - for the standard output.")
    ],
    database: OfDatabase = None,
) -> None:
    """Write the whole database, as it is at this moment, to one file. The server may go on."""
    from folkmoot import moving

    sys.exit(moving.run(moving.back_up(file, database)))


@application.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    database: OfDatabase = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what the database has, which is backed up first.")
    ] = False,
) -> None:
    """Fill an empty database from a backup, all or nothing. No server may run on it."""
    from folkmoot import moving

    sys.exit(moving.run(moving.restore(file, database, replace=replace)))


@application.command()
def copy(
    source: Annotated[str, typer.Option("--from", help="Address of the database to read.")],
    target: Annotated[str, typer.Option("--to", help="Address of the database to fill, which must be empty.")],
) -> None:
    """Copy a whole database to another, from SQLite to PostgreSQL or back, all or nothing."""
    from folkmoot import moving

    sys.exit(moving.run(moving.copy(source, target)))


def _show_help_of_mcp(wanted: bool) -> None:
    if wanted:
        from folkmoot.mcp_server.clients import help_text

        typer.echo(help_text())
        raise typer.Exit


@application.command(add_help_option=False)
def mcp(
    help: Annotated[  # noqa: A002 - the option's own name
        bool, typer.Option("--help", callback=_show_help_of_mcp, is_eager=True, help="Show how clients join, and exit.")
    ] = False,
) -> None:
    """Bridge an agent's client to the running server by MCP, over stdin and stdout."""
    from folkmoot.bridge import run

    sys.exit(run())


@application.command("import")
def take_over(
    source: Annotated[str, typer.Argument(metavar="URL", help="postgresql://… of the retired server's database.")],
    database: OfDatabase = None,
    organization: Annotated[
        str | None, typer.Option(help="Identifier or name of the one organisation to take. [all]")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Kinds of things to take, with commas: blocks, tools, agents, messages, … [all]")
    ] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            help="Take what was made or changed since, in UTC unless it says otherwise. [all]",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would come and what cannot.")
    ] = False,
) -> None:
    """Take over the retired server's database, which is only read. It can be run again: what is here already stays."""
    from folkmoot import moving

    kinds = [kind.strip() for kind in only.split(",") if kind.strip()]
    taking = moving.take_over(source, database, organization, kinds, since, dry_run=dry_run)
    sys.exit(moving.run(taking))


keys = typer.Typer(help="Keys of an organisation, of the running server or of the database.", no_args_is_help=True)
organizations = typer.Typer(help="Organisations: each has agents, blocks and keys of its own.", no_args_is_help=True)
application.add_typer(keys, name="keys")
application.add_typer(organizations, name="organizations")

OfOrganization = Annotated[
    str | None, typer.Option(metavar="O", help="Identifier or name of the organisation. [the key's own, or default]")
]


class Role(StrEnum):
    """What a key may do."""

    admin = "admin"
    member = "member"
    reader = "reader"


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What histories and logs call who has the key.")],
    role: Annotated[Role, typer.Option(help="reader: reads only. member: all but administration.")] = Role.member,
    expires: Annotated[str | None, typer.Option(metavar="90d", help="How long it lasts. [until revoked]")] = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL:ACCESS",
            help="A block that the key reaches, with write, append or read; again for more. It then reaches no others.",
        ),
    ] = None,
    archive: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:ACCESS", help="An archive that it reaches, with append or read; again for more."),
    ] = None,
    agent: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="An agent that the key may ask; again for more.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="U", help="A user who came from another server, whose key it is to be.")
    ] = None,
    organization: OfOrganization = None,
) -> None:
    """Make a key and show it, once, on the last line."""
    from folkmoot import administration

    grants = administration.read_grants(block, archive, agent)
    sys.exit(administration.run(administration.create_key, name, role.value, expires, organization, user, grants))


@keys.command("list")
def list_keys(organization: OfOrganization = None) -> None:
    """List the keys: what they begin with, whose they are, what they may do, when they were last used."""
    from folkmoot import administration

    sys.exit(administration.run(administration.list_keys, organization))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's identifier, as `list` shows it.")],
    organization: OfOrganization = None,
) -> None:
    """Revoke a key, for good and at once."""
    from folkmoot import administration

    sys.exit(administration.run(administration.revoke_key, key_id, organization))


@organizations.command("create")
def create_organization(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Make an organisation; its identifier stands on the last line."""
    from folkmoot import administration

    sys.exit(administration.run(administration.create_organization, name))


@organizations.command("list")
def list_organizations() -> None:
    """List the organisations."""
    from folkmoot import administration

    sys.exit(administration.run(administration.list_organizations))


@organizations.command("delete")
def delete_organization(
    organization: Annotated[str, typer.Argument(help="Its identifier or name.")],
) -> None:
    """Delete an organisation with all its agents, blocks, messages, runs and keys, for good."""
    from folkmoot import administration

    sys.exit(administration.run(administration.delete_organization, organization))


def _open_streams() -> None:
    """Open the standard streams that were closed, to nowhere: libuv aborts when a connection in their place ends."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open(mode)  # noqa: SIM115 - it stays; the lowest free number is its own
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def main() -> None:
    """Run the command."""
    if sys.flags.optimize > 1:
        sys.exit("folkmoot: Python leaves out docstrings, which describe tools; unset PYTHONOPTIMIZE, or set it to 1.")
    _open_streams()
    # What is loaded stays: to look for garbage in it, again and again as it grows, is a seventh of a start.
    gc.set_threshold(100_000, 50, 100)
    application()
