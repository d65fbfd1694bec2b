"""`folkmoot chat`, `blocks`, `runs` and `watch`: the running server, for people who live in a terminal."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx2
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from folkmoot.administration import Refused, duration
from folkmoot.errors import ProxyUnusable, StartupError
from folkmoot.outbound.proxies import client_for
from folkmoot.settings import USUAL_ADDRESS, read_settings

ANSWER_SECONDS = 60.0
RECONNECT_SECONDS = 1.0

LONGEST_SHOWN = 300
"""Characters of an argument, or of what a tool returned, that are shown."""

WIDE = 240
"""Columns of what no terminal shows, so that programs read whole lines."""

LEAST_OF_OUTCOME = 24
"""Columns that what became of a run has at least, beside the others."""

COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")
"""Of authors, in the order in which a command first meets them."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def run(command: Callable[..., None], *arguments: Any) -> int:
    """Run a command of this module with a client of the running server, and return the process's exit code."""
    try:
        settings = read_settings({})
        address = settings.url or USUAL_ADDRESS
        headers = {"authorization": f"Bearer {settings.api_key.get_secret_value()}"} if settings.api_key else {}
        with client_for(address, httpx2.Client, base_url=address, headers=headers, timeout=ANSWER_SECONDS) as client:
            command(client, *arguments)
    except httpx2.ConnectError:
        return _failed(f"no server answers at {address}. Start one with `folkmoot serve`, or set FOLKMOOT_URL.")
    except httpx2.TransportError as error:
        return _failed(f"the server did not answer: {error or type(error).__name__}.")
    except (StartupError, ProxyUnusable) as error:
        return _failed(error.message)
    except Refused as error:
        return _failed(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


# -- chat ----------------------------------------------------------------------------------------------------


def chat(client: httpx2.Client, agent: str, message: str | None) -> None:
    """Talk to an agent, line by line, until the input ends; or say one message.

    Args:
        client: of the server.
        agent: its name or identifier.
        message: what to say; None to read lines.
    """
    found = _the_one(client, "agents", "name", agent)
    found = _ask(client, "GET", f"/v1/agents/{found['id']}", params={"include": "agent.pending_approval"})
    if message is not None:
        _take_turns(client, found, {"input": message})
        return
    import readline  # noqa: F401 - lines can be edited, and called back, once it is loaded

    console.print(f"Talking to {found['name']}, {found['id']}. Ctrl-C stops a turn, Ctrl-D ends.", style="dim")
    if found["pending_approval"] is not None:
        _take_turns(client, found, _decided(_calls_of(found["pending_approval"])))
    while (line := _read_line("you> ")) is not None:
        if line.strip():
            try:
                _take_turns(client, found, {"input": line})
            except Refused as error:
                console.print(Text(str(error), "red"))


def _take_turns(client: httpx2.Client, agent: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Say something, show what comes of it, and go on for as long as calls wait for a decision."""
    while body:
        turn = _Turn(agent["name"])
        try:
            with client.stream(
                "POST", f"/v1/agents/{agent['id']}/messages/stream", json={**body, "stream_tokens": True}, timeout=None
            ) as response:
                for event in _events(response):
                    turn.show(event)
        except KeyboardInterrupt:
            _ask(client, "POST", f"/v1/agents/{agent['id']}/messages/cancel", json={})
            turn.end_line()
            console.print("stopped", style="dim")
            return
        turn.end_line()
        body = _decided(turn.waiting())


def _decided(calls: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
    """Return what is said of calls that wait for a decision; nothing where none does."""
    approvals = [_decision(call) for call in calls]
    return {"messages": [{"type": "approval", "approvals": approvals}]} if approvals else {}


def _decision(call: Mapping[str, str]) -> dict[str, Any]:
    """Ask whether a call may be made; any other word than yes is the reason why not."""
    console.print(Text.assemble(("waits for you  ", "bold yellow"), _call_words(call)))
    answer = (_read_line("allow? [y, n, or why not] ") or "n").strip()
    approve = answer.lower() in ("y", "yes")
    reason = None if approve or answer.lower() in ("", "n", "no") else answer
    return {"type": "approval", "tool_call_id": call["tool_call_id"], "approve": approve, "reason": reason}


class _Turn:
    """Shows a turn's events as they come: words as they are spoken, calls when they are whole."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind: str | None = None
        self._calls: dict[str, dict[str, str]] = {}
        self._waits = False
        self._is_shown: set[str] = set()

    def show(self, event: Mapping[str, Any]) -> None:
        """Show an event of the stream."""
        kind = event.get("message_type")
        if kind in ("assistant_message", "reasoning_message"):
            self._speak(kind, _words(event.get("content") if kind == "assistant_message" else event.get("reasoning")))
        elif kind in ("tool_call_message", "approval_request_message"):
            self._hear_call(event)
        elif kind == "tool_return_message":
            self._show_calls()
            ok = event.get("status") == "success"
            mark = ("  ✓ ", "green") if ok else ("  ✗ ", "red")
            console.print(Text.assemble(mark, _clipped(_words(event.get("tool_return")))))
        elif kind == "stop_reason":
            self._waits = event["stop_reason"] == "requires_approval"
            if not self._waits:
                self._show_calls()
                if event["stop_reason"] != "end_turn":
                    self.end_line()
                    console.print(f"ended: {event['stop_reason'].replace('_', ' ')}", style="dim")
        elif kind == "error_message" or "error" in event:
            self.end_line()
            console.print(Text(_words(event.get("message") or event.get("error")), "red"))

    def waiting(self) -> list[dict[str, str]]:
        """Return the calls that wait for a decision."""
        if not self._waits:
            return []
        return [call for call in self._calls.values() if call["tool_call_id"] not in self._is_shown]

    def end_line(self) -> None:
        """End the line on which words were spoken."""
        if self._kind is not None:
            console.print()
            self._kind = None

    def _speak(self, kind: str, words: str) -> None:
        if not words:
            return
        self._show_calls()
        if self._kind != kind:
            self.end_line()
            self._kind = kind
            if kind == "assistant_message":
                console.print(Text(f"{self._name}> ", "bold cyan"), end="")
        console.print(Text(words, "" if kind == "assistant_message" else "dim italic"), end="")

    def _hear_call(self, event: Mapping[str, Any]) -> None:
        self.end_line()
        for piece in _calls_of(event):
            call = self._calls.setdefault(
                piece["tool_call_id"], {"tool_call_id": piece["tool_call_id"], "name": "", "arguments": ""}
            )
            call["name"] = piece.get("name") or call["name"]
            call["arguments"] += piece.get("arguments") or ""

    def _show_calls(self) -> None:
        for call in self._calls.values():
            if call["tool_call_id"] not in self._is_shown:
                self.end_line()
                self._is_shown.add(call["tool_call_id"])
                console.print(Text.assemble(("⚙ ", "dim"), _call_words(call)))


def _calls_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """Return the calls, or pieces of calls, of a message."""
    several = message.get("tool_calls")
    return several if isinstance(several, list) else [message["tool_call"]]


def _call_words(call: Mapping[str, str]) -> Text:
    try:
        given = json.loads(call["arguments"] or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, Mapping):
        return Text.assemble((call["name"], "bold"), " ", _clipped(call["arguments"]))
    words = "  ".join(f"{name}={_clipped(json.dumps(value, ensure_ascii=False))}" for name, value in given.items())
    # Half an emoji, which models write at times, cannot be printed.
    return Text.assemble((call["name"], "bold"), "  ", words.encode(errors="replace").decode())


# -- memory and runs -----------------------------------------------------------------------------------------


def blocks(client: httpx2.Client, block: str | None) -> None:
    """List the blocks; or show one, each line with who wrote it."""
    if block is not None:
        _show_block(client, _the_one(client, "blocks", "label", block))
        return
    rows = []
    for each in _pages(client, "/v1/blocks"):
        size = f"{len(each['value']):,} / {each['limit']:,}"
        by, at = each["updated_by"]["name"] or "", _moment(each["updated_at"])
        rows.append([Text(cell) for cell in (each["label"], size, f"v{each['version']}", by, at, each["id"])])
    _show_table(("label", "characters", "version", "last written by", "when", "id"), rows)


def _show_block(client: httpx2.Client, block: Mapping[str, Any]) -> None:
    lines = _ask(client, "GET", f"/v1/blocks/{block['id']}/blame")["lines"]
    colours = _Colours()
    width = max((len(line["author"]["name"] or "") for line in lines), default=0)
    console.print(f"{block['label']}  v{block['version']}  {len(block['value']):,} / {block['limit']:,}", style="bold")
    for line in lines:
        name = line["author"]["name"] or ""
        console.print(Text.assemble((f"{name:<{width}}  v{line['version']:<4} ", colours.of(name)), line["text"]))


def runs(client: httpx2.Client, agent: str | None, limit: int, since: str | None, *, failed: bool) -> None:
    """List the newest runs.

    Args:
        client: of the server.
        agent: only those of this agent; its name or identifier.
        limit: how many.
        since: how long ago they were made at the most, such as `12h`.
        failed: whether only those that failed.
    """
    query: dict[str, Any] = {"limit": limit}
    if agent is not None:
        query["agent_id"] = _the_one(client, "agents", "name", agent)["id"]
    if failed:
        query["statuses"] = "failed"
    if since is not None:
        query["start_date"] = (datetime.now(UTC) - duration("--since", since)).isoformat()
    found = _ask(client, "GET", "/v1/runs", params=query)
    names = {id_: _name_of(client, id_) for id_ in dict.fromkeys(each["agent_id"] for each in found)}
    rows = []
    for each in found:
        outcome = each["stop_reason"] or each["status"]
        error = (each["error"] or {}).get("message", "") if isinstance(each["error"], Mapping) else each["error"] or ""
        words = Text(outcome.replace("_", " "), "red" if each["status"] == "failed" else "")
        if error:
            words = Text.assemble(words, "  ", _clipped(error))
        at, took = _moment(each["created_at"]), _duration(each["total_duration_ns"])
        rows.append([Text(at), Text(names[each["agent_id"]]), words, Text(took), Text(each["id"])])
    _show_table(("when", "agent", "outcome", "took", "id"), rows)


def watch(client: httpx2.Client, block: str) -> None:
    """Show a block's changes as they come, until Ctrl-C; a stream that drops is taken up where it was."""
    found = _the_one(client, "blocks", "label", block)
    colours, text, seen = _Colours(), found["value"], found["version"]
    console.print(f"Watching {found['label']}, {found['id']}, from v{seen} on. Ctrl-C ends.", style="dim")
    while True:
        try:
            headers = {"last-event-id": str(seen)}
            with client.stream("GET", f"/v1/blocks/{found['id']}/watch", headers=headers, timeout=None) as response:
                for event in _events(response):
                    if event.get("version", 0) > seen:
                        _show_change(event, text, colours)
                        text, seen = event["value"], event["version"]
        except httpx2.TransportError as error:
            console.print(f"the stream has dropped ({error or type(error).__name__}); looking again", style="dim")
        time.sleep(RECONNECT_SECONDS)


def _show_change(version: Mapping[str, Any], before: str, colours: _Colours) -> None:
    author = version.get("author") or version["updated_by"]
    name, at = author["name"] or "", _moment(version.get("created_at") or version["updated_at"])
    console.print(Text.assemble((f"v{version['version']}  {name}", colours.of(name)), f"  {at}"))
    for line in difflib.unified_diff(before.split("\n"), version["value"].split("\n"), lineterm="", n=0):
        if not line.startswith(("---", "+++", "@@")):
            console.print(Text(f"  {line[:1]} {line[1:]}", {"+": "green", "-": "red"}.get(line[:1], "")))


class _Colours:
    """Gives each author a colour."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def of(self, name: str) -> str:
        """Return an author's colour."""
        return self._of.setdefault(name, COLOURS[len(self._of) % len(COLOURS)])


# -- asking --------------------------------------------------------------------------------------------------


def _ask(client: httpx2.Client, method: str, path: str, **options: Any) -> Any:
    response = client.request(method, path, **options)
    _refuse(response)
    return response.json()


def _events(response: httpx2.Response) -> Iterator[Mapping[str, Any]]:
    """Yield the data of a stream's events.

    Raises:
        Refused: the request was.
    """
    if not response.is_success:
        response.read()
        _refuse(response)
    for line in response.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _refuse(response: httpx2.Response) -> None:
    if response.is_success:
        return
    told = response.json().get("detail") if "json" in response.headers.get("content-type", "") else response.text
    hint = " Set FOLKMOOT_API_KEY." if response.status_code == 401 else ""
    raise Refused(f"{_words(told)}{hint}")


def _the_one(client: httpx2.Client, kind: str, named_by: str, wanted: str) -> dict[str, Any]:
    """Return the agent or block of this name or identifier.

    Raises:
        Refused: there is none, or there are several of the name.
    """
    singular = kind.removesuffix("s")
    if wanted.startswith(f"{singular}-") and len(wanted) == len(singular) + 37:
        one: dict[str, Any] = _ask(client, "GET", f"/v1/{kind}/{quote(wanted, safe='')}")
        return one
    found: list[dict[str, Any]] = _ask(client, "GET", f"/v1/{kind}", params={named_by: wanted, "limit": 10})
    if not found:
        raise Refused(f"there is no {singular} {wanted!r}.")
    if len(found) > 1:
        raise Refused(f"several {kind} are called {wanted!r}; name one: {', '.join(each['id'] for each in found)}.")
    return found[0]


def _pages(client: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while page := _ask(client, "GET", path, params={"limit": 100, **({"after": after} if after else {})}):
        yield from page
        after = page[-1]["id"]


def _name_of(client: httpx2.Client, agent_id: str) -> str:
    response = client.get(f"/v1/agents/{agent_id}")
    if response.status_code == 404:
        return "(deleted)"
    _refuse(response)
    return str(response.json()["name"])


# -- words ---------------------------------------------------------------------------------------------------


def _read_line(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None


def _words(content: Any) -> str:
    """Return the text of a content, be it text or parts."""
    if isinstance(content, list):
        return "".join(part.get("text", "(a picture)") for part in content)
    if isinstance(content, Mapping):
        return str(content.get("message") or json.dumps(content, ensure_ascii=False))
    return "" if content is None else str(content)


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"


def _duration(nanoseconds: int | None) -> str:
    """Return how long something took.

    >>> _duration(16_000_000), _duration(1_250_000_000), _duration(None)
    ('16 ms', '1.2 s', '')
    """
    if not nanoseconds:
        return ""
    return f"{nanoseconds / 1e6:.0f} ms" if nanoseconds < 1e8 else f"{nanoseconds / 1e9:.1f} s"


def _show_table(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """Show rows, each with its identifier last; where they do not fit beside each other, on a line of its own."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    needed = 2 * (len(columns) - 1)
    for number, column in enumerate(columns):
        widest = max(map(cell_len, (column, *(row[number].plain for row in rows))))
        least = LEAST_OF_OUTCOME if column == "outcome" else widest
        table.add_column(column, min_width=min(least, widest))
        needed += min(least, widest)
    for row in rows:
        table.add_row(*row)
    if needed <= console.width or not sys.stdout.isatty():
        console.print(table, soft_wrap=False)
        return
    for *cells, identifier in rows:
        console.print(Text("  ").join(cells), Text(f"  {identifier}", "dim"), sep="\n")


def _failed(message: str) -> int:
    print(f"folkmoot: {message}", file=sys.stderr)  # noqa: T201 - this is the terminal
    return 1
