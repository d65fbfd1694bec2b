"""`folkmoot demo`: the shared-memory tutorial, or an example, through the official client, on a server of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from folkmoot.errors import StartupError
from folkmoot.settings import check_temporary_folder, read_environ

if TYPE_CHECKING:
    from letta_client import Letta

OFFLINE_MODEL = "offline/notetaker"
COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
LONGEST_SHOWN = 400

QUESTIONS = (
    ("agent1", "Agent1: ", "the connection between memory blocks and Letta"),
    ("agent2", "Agent2: ", "the origin of Letta"),
)

EXAMPLES = {
    "research_team": "three agents look something up at once and fill one block",
    "policy_board": "read-only blocks that all agents follow and none can change",
    "task_coordination": "agents claim tasks and report in one block, all at once",
    "shared_library": "two agents fill one archive and find what is in it",
    "specialists": "each passes on what matters to the next, block by block",
}
"""The programs in `examples/` that the demo runs, and what each shows."""

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
"""Variables that an example's client would heed, though it asks nobody but the server on this machine."""

console = Console(highlight=False)


def run(model: str | None, example: str | None = None) -> int:
    """Run the tutorial, or an example, and return the process's exit code.

    Args:
        model: handle of the model; the server's default one when None.
        example: name of the example; the tutorial when None.
    """
    if example is not None and example not in EXAMPLES:
        console.print(f"There is no example {escape(repr(example))}. There are:")
        for name, words in EXAMPLES.items():
            console.print(f"  [bold]{name:<17}[/]  {words}")
        return 2
    try:
        from letta_client import DefaultHttpxClient, Letta
    except ImportError:
        needed = escape("pip install 'folkmoot[demo]'")
        console.print(f"The demo talks to the server through the official client: {needed}")
        return 1
    try:
        check_temporary_folder()
        with (
            tempfile.TemporaryDirectory(prefix="folkmoot-demo-") as folder,
            running_server(Path(folder)) as address,
        ):
            console.print(f"[bold]Folkmoot[/] is running at {address}, its database in {folder}\n")
            straight = DefaultHttpxClient(trust_env=False)  # the server is of this machine: no proxy leads to it
            client = Letta(base_url=address, api_key="not-needed", timeout=300, max_retries=0, http_client=straight)
            return tutorial(client, model) if example is None else run_example(client, example, address, model)
    except StartupError as error:
        console.print(f"[red]The server did not start:[/] {escape(error.message)}")
        return 1


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Run `folkmoot serve` on a free port with its data in `folder`, and give its address.

    Raises:
        StartupError: it stopped before it was ready.
    """
    # A server of its own: what is set for another one is left aside, but for the providers' keys.
    environ = {name: value for name, value in read_environ().items() if not name.startswith("FOLKMOOT_")}
    environ["FOLKMOOT_DATA"] = str(folder)
    command = [sys.executable, "-m", "folkmoot", "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=environ, cwd=folder, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield _address(process.stdout)
        finally:
            process.terminate()
            process.wait(30)


def _address(output: Any) -> str:
    for line in output:
        if found := re.search(r"address\s+(http://\S+)", line):
            return found[1]
    raise StartupError("its output above says why.")


def tutorial(client: Letta, model: str | None) -> int:
    """Let two agents research into one shared block, show what happens, and return the exit code."""
    block = client.blocks.create(label="organization", value="Organization: Letta", limit=4000)
    _step(f'created the shared block [bold]organization[/]: "{escape(block.value)}"')
    agents = {}
    for name, _, _ in QUESTIONS:
        options: dict[str, Any] = {"model": model} if model else {}
        agents[name] = client.agents.create(name=name, tools=["web_search"], **options)
        client.agents.blocks.attach(block.id, agent_id=agents[name].id)
        _step(f"created [bold]{name}[/] with web_search, and attached the block to it")
    _tell_model(agents["agent1"].model or "")
    for name, prefix, topic in QUESTIONS:
        _ask(client, agents[name].id, name, prefix, topic)
    _read_only_block(client, model)
    writers = _show_block(client, block.id)
    missing = [name for name, _, _ in QUESTIONS if name not in writers]
    if missing:
        console.print(f"[red]{' and '.join(missing)} wrote nothing into the block.[/]")
        return 1
    return 0


def examples_folder() -> Path:
    """Return where the examples are: in the package, or beside its sources in a checkout."""
    package = Path(__file__).parent
    shipped = package / "examples"
    return shipped if shipped.is_dir() else package.parents[1] / "examples"


def run_example(client: Letta, name: str, address: str, model: str | None) -> int:
    """Run an example on the server at `address`, show what it says and its blocks, and return the exit code.

    The texts of blocks that it prints at its end are left out: they are shown with who wrote each line.
    """
    own = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    environ = {**own, "FOLKMOOT_BASE_URL": address, "LETTA_API_KEY": "not-needed", "PYTHONUNBUFFERED": "1"}
    if model:
        environ["FOLKMOOT_MODEL"] = model
    else:
        environ.pop("FOLKMOOT_MODEL", None)
    program = examples_folder() / f"{name}.py"
    console.print(f"[bold]{name}[/]: {EXAMPLES[name]}  [dim]{escape(str(program))}[/]\n")
    colours: dict[str, str] = {}
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(program)], env=environ, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        shows_blocks = False
        for line in process.stdout:
            shows_blocks = shows_blocks or line.startswith("====")
            if not shows_blocks:
                console.print(_spoken(line.rstrip("\n"), colours))
    if process.returncode:
        console.print(f"[red]The example ended with exit code {process.returncode}; its words above say why.[/]")
        return 1
    for block in client.blocks.list():
        _show_block(client, block.id, colours)
    _tell_model(next(iter(client.agents.list())).model or "")
    return 0


def _spoken(line: str, colours: dict[str, str]) -> Text:
    """Return a line with its speaker in a colour of his own."""
    if found := re.match(r"(you → )?([\w-]+): ", line):
        who = "bold" if found[1] else f"bold {_colour(found[2], colours)}"
        return Text.assemble((line[: found.end()], who), line[found.end() :])
    return Text(line)


def _colour(name: str, colours: dict[str, str]) -> str:
    return colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])


def _tell_model(handle: str) -> None:
    if handle == OFFLINE_MODEL:
        console.print(
            "\n[yellow]No model is configured, so the offline note-taker answers: a small rule follower that can do "
            "this, not a language model. Set OPENAI_API_KEY, or another provider's key, for a real one.[/]"
        )
    else:
        console.print(f"\nModel: [bold]{handle}[/]")


def _ask(client: Letta, agent_id: str, name: str, prefix: str, topic: str) -> None:
    question = (
        f'Find information about {topic}.\nInsert what you learn into the memory block, prepended with "{prefix}".'
    )
    console.print(f"\n[bold]you → {name}[/]  {escape(question)}")
    with console.status(f"{name} is working…"):
        response = client.agents.messages.create(agent_id, messages=[{"role": "user", "content": question}])
    for message in response.messages:
        _show_message(name, message)


def _show_message(name: str, message: Any) -> None:
    match message.message_type:
        case "reasoning_message":
            console.print(f"  [dim]thought: {_short(message.reasoning)}[/]")
        case "tool_call_message":
            call = message.tool_call
            console.print(f"  ⚙ [bold]{escape(call.name)}[/] {_short(call.arguments)}")
        case "tool_return_message":
            mark = "[green]✓[/]" if message.status == "success" else "[red]✗[/]"
            console.print(f"    {mark} [dim]{_short(message.tool_return)}[/]")
        case "assistant_message":
            console.print(f"  [bold]{name}[/]  {_short(message.content)}")


def _read_only_block(client: Letta, model: str | None) -> None:
    policies = client.blocks.create(
        label="policies", value="Company Policy: Always be helpful and respectful.", read_only=True
    )
    options: dict[str, Any] = {"model": model} if model else {}
    client.agents.create(name="policy_agent", block_ids=[policies.id], **options)
    console.print()
    _step("created the read-only block [bold]policies[/] and [bold]policy_agent[/], which sees it but cannot change it")


def _show_block(client: Letta, block_id: str, colours: dict[str, str] | None = None) -> set[str]:
    """Show a block's text, each line in its writer's colour; return the writers' names."""
    blame: Any = client.get(f"/v1/blocks/{block_id}/blame", cast_to=object)
    colours = {} if colours is None else colours
    writers = set()
    lines = []
    for line in blame["lines"]:
        author = line["author"]
        name = author["name"] if author["type"] == "agent" else f'API key "{author["name"]}"'
        writers.add(name)
        colour = _colour(name, colours)
        lines.append(Text.assemble((f"{name}, version {line['version']}\n", f"dim {colour}"), (line["text"], colour)))
    label = client.blocks.retrieve(block_id).label
    title = f"{label}, version {blame['version']}: who wrote what"
    console.print(Panel(Group(*lines), title=title, title_align="left", border_style="dim", padding=(1, 2)))
    return writers


def _step(text: str) -> None:
    console.print(f"[green]✓[/] {text}")


def _short(text: Any) -> str:
    flat = " ".join(str(text).split())
    return escape(flat if len(flat) <= LONGEST_SHOWN else flat[:LONGEST_SHOWN] + " …")
