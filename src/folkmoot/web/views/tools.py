"""Tools: the list, the form for a new one, and the page of one, on which it is read, changed and run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.overview import agents_with_tool, holders_of_tools
from folkmoot.agents.tool_runs import run_tool
from folkmoot.errors import FolkmootError, InvalidInput, ToolFailed
from folkmoot.server.routes import tools as api
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import ToolId
from folkmoot.server.wire.tools import CreateTool, UpdateTool
from folkmoot.store.engine import Transaction
from folkmoot.tools.custom.custom_tool import limits_of, run_source
from folkmoot.tools.custom.languages import Language
from folkmoot.tools.custom.making import change_tool, make_tool, refuse_builtin_id
from folkmoot.tools.custom.packages import Packages, begin_to_install, packages_of_tool, state_of
from folkmoot.tools.custom.running import Program
from folkmoot.tools.schema import read_arguments
from folkmoot.tools.stored import ToolEntry, find_stored_tool
from folkmoot.tools.tool import TEXT_ALONE, Tool, ToolResult
from folkmoot.web import code
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.highlighting import CodeLine, code_lines
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, Row, as_file, check_length
from folkmoot.web.words import iso

router = page_router()

LISTED = 200
COLUMNS = ("id", "name", "kind", "description", "agents", "tags", "updated_at")
KINDS = {"": "All", "own": "Your own", "mcp": "Of MCP servers", "built-in": "Built in"}

EXAMPLE = '''def price_of(item: str, amount: int = 1) -> dict:
    """Look up what something costs in the shop.

    Args:
        item: What to look up.
        amount: How many of it.
    """
    prices = {"tea": 4, "bread": 3}
    return {"item": item, "price": prices[item] * amount}
'''

_FIELDS = (
    "source_code", "source_type", "description", "tags", "return_char_limit", "approval", "parallel", "packages",
    "hosts", "limits",
)  # fmt: skip
_PACKAGE = {
    "python": re.compile(r"([A-Za-z0-9._-]+(?:\[[^\]]*\])?)\s*(.*)"),
    "typescript": re.compile(r"(@?[^@]+)@?(.*)"),
}
_PLACES = (("pip_requirements", "packages"), ("npm_requirements", "packages"), ("metadata_", "hosts"))
"""Fields of the API that stand under another name in the form."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the form that a tool is run with."""

    name: str
    kind: str
    """`text`, `number`, `truth`, `choice` or `json`."""

    required: bool
    hint: str
    choices: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Ran:
    """What a call came to that was made from the page, and what it was made with."""

    values: Mapping[str, str]
    agent_id: str = ""
    result: ToolResult | None = None
    problem: str = ""

    @property
    def value(self) -> str:
        """What it returned, as text to read."""
        assert self.result is not None
        value = self.result.value
        return self.result.text if value is TEXT_ALONE or isinstance(value, str) else json.dumps(value, indent=2)


@dataclass(frozen=True, slots=True)
class _Editing:
    """A form that is open: its fields, and what is wrong with which of them, and in which line of the source."""

    values: Mapping[str, str]
    problems: Mapping[str, str]
    lines: Sequence[CodeLine] = ()


def _kind_of(tool_type: str) -> str:
    return {"custom": "own", "external_mcp": "mcp"}.get(tool_type, "built-in")


@router.get("/tools")
async def list_all(
    request: Request, state: State, scan: Scan, q: str = "", kind: str = "", wanted: Format = None
) -> Response:
    """List tools: what was made here first, the newest in front; as a file where one is asked for."""

    async def chosen(transaction: Transaction) -> list[ToolEntry]:
        return [
            entry
            for entry in await state.services.tools.entries(transaction)
            if q.strip().lower() in entry.name.lower() and kind in ("", _kind_of(entry.tool_type))
        ]

    async def rows(transaction: Transaction) -> list[Row]:
        ids = [entry.id for entry in await chosen(transaction)]
        check_length(len(ids))
        holders = await holders_of_tools(transaction)
        return [_row(tool, holders.get(tool.id, 0)) for tool in await state.services.tools.find(transaction, ids)]

    if wanted:
        return await scan(rows, partial(as_file, "tools", wanted, COLUMNS))

    async def read(transaction: Transaction) -> dict[str, Any]:
        entries = await chosen(transaction)
        shown = await state.services.tools.find(transaction, [entry.id for entry in entries[:LISTED]])
        return {"tools": shown, "holders": await holders_of_tools(transaction), "more": len(entries) > LISTED}

    values: dict[str, Any] = {"q": q, "kind": kind, "kinds": KINDS, "kind_of": _kind_of, "calls": code.tools_calls()}
    return await scan(read, lambda found: render(request, "tools.html", **values, **found))


def _row(tool: Tool, agents: int) -> Row:
    """Return a tool as a row of a file."""
    return {
        "id": tool.id,
        "name": tool.name,
        "kind": KINDS[_kind_of(tool.tool_type)],
        "description": tool.schema.description,
        "agents": agents,
        "tags": ", ".join(tool.tags),
        "updated_at": iso(tool.stored.updated_at) if tool.stored is not None else None,
    }


@router.get("/tools/new")
async def new(request: Request) -> Response:
    """Show the form for a new tool, with one to begin with."""
    return _new_page(request, _Editing(_blank(), {}))


@router.post("/tools/new")
async def create(request: Request, state: State) -> Response:
    """Make a tool, or say what is wrong where."""
    values = await _read_values(request)
    try:
        fields = CreateTool.model_validate(_fields(values, {})).fields()
        tool = await make_tool(state.store, fields, state.author)
    except (ValidationError, FolkmootError) as error:
        return _new_page(request, _refused(error, values), 422)
    await begin_to_install(state.services.sandbox.environments, packages_of_tool(tool))
    return redirect(f"/tools/{tool.id}")


@router.get("/tools/{tool_id}")
async def show(
    request: Request, tool_id: ToolId, state: State, edit: str | None = None, ask: str | None = None, agent: str = ""
) -> Response:
    """Show a tool; the form to run it may have an agent already."""
    return await _tool_page(request, tool_id, state, ask=ask, edit=edit is not None, ran=_Ran({}, agent))


@router.post("/tools/{tool_id}")
async def change(request: Request, tool_id: ToolId, state: State) -> Response:
    """Change a tool, or say what is wrong where."""
    values = await _read_values(request)
    try:
        refuse_builtin_id(tool_id)
        before = await state.store.read(lambda transaction: find_stored_tool(transaction, tool_id))
        fields = UpdateTool.model_validate(_fields(values, before.metadata or {})).fields()
        tool = await change_tool(state.store, tool_id, fields, state.author)
    except (ValidationError, FolkmootError) as error:
        return await _tool_page(request, tool_id, state, 422, editing=_refused(error, values))
    await begin_to_install(state.services.sandbox.environments, packages_of_tool(tool))
    return redirect(f"/tools/{tool_id}")


@router.post("/tools/{tool_id}/delete")
async def delete(tool_id: ToolId, state: State) -> Response:
    """Delete a tool."""
    await api.delete(tool_id, state)
    return redirect("/tools")


@router.post("/tools/{tool_id}/run")
async def run(request: Request, tool_id: ToolId, state: State) -> Response:
    """Run a tool with the form's arguments, as one of its agents or as nobody, and show what came of it."""
    form = await read_form(request)
    (tool,) = await state.store.read(lambda transaction: state.services.tools.find(transaction, [tool_id]))
    fields = _run_fields(tool)
    values = {field.name: text_of(form, f"arg {field.name}") for field in fields}
    ran = _Ran(values, text_of(form, "agent"))
    try:
        arguments = _arguments(fields, values)
    except InvalidInput as error:
        return await _tool_page(request, tool_id, state, 422, ran=replace(ran, problem=error.message))
    try:
        result = await Scanning(state.store, request).while_here(_run(tool, arguments, ran.agent_id, state))
    except ToolFailed as error:
        result = ToolResult(error.message, failed=True)
    return await _tool_page(request, tool_id, state, ran=replace(ran, result=result))


async def _run(tool: Tool, arguments: Mapping[str, Any], agent_id: str, state: ServerState) -> ToolResult:
    stored = tool.stored
    if agent_id or stored is None or stored.tool_type != "custom":
        return await run_tool(state.services, state.runs.messenger, agent_id, tool.name, arguments)
    given = read_arguments(tool.schema, arguments)
    described = tool.schema.parameters.get("properties", {}) if stored.args_json_schema else {}
    program = Program(
        stored.source_code or "", stored.function, tool.name, described, packages_of_tool(stored), limits_of(stored)
    )
    returned = await run_source(program, given, {}, state.services)
    return ToolResult(returned.text, returned.stdout, returned.stderr, returned.error is not None, value=returned.value)


async def _tool_page(
    request: Request,
    tool_id: str,
    state: ServerState,
    status: int = 200,
    *,
    ask: str | None = None,
    edit: bool = False,
    editing: _Editing | None = None,
    ran: _Ran | None = None,
) -> Response:
    (tool,) = await state.store.read(lambda transaction: state.services.tools.find(transaction, [tool_id]))
    stored = tool.stored
    packages = packages_of_tool(stored) if stored is not None else Packages()
    environment = await state_of(state.services.sandbox.environments, packages)
    is_own = stored is not None and stored.tool_type == "custom"

    def shown(holders: list[tuple[str, str]]) -> Response:
        return render(
            request,
            "tool.html",
            status,
            tool=tool,
            stored=stored,
            is_own=is_own,
            kind=KINDS[_kind_of(tool.tool_type)],
            holders=holders,
            lines=code_lines(stored.source_code or "", _language(stored.source_type)) if is_own and stored else [],
            schema=json.dumps(tool.schema.parameters, indent=2, ensure_ascii=False),
            fields=_run_fields(tool),
            editing=editing or (_Editing(_values_of(tool), {}) if edit and is_own else None),
            ran=ran or _Ran({}),
            environment=environment,
            ask=ask if is_own else None,
            calls=code.tool_calls(tool.id, tool.name),
        )

    return await Scanning(state.store, request)(lambda transaction: agents_with_tool(transaction, tool_id), shown)


def _new_page(request: Request, editing: _Editing, status: int = 200) -> Response:
    return render(request, "tool_new.html", status, editing=editing, calls=code.new_tool_calls())


def _language(source_type: str | None) -> Language:
    return "typescript" if source_type == "typescript" else "python"


def _blank() -> dict[str, str]:
    blank = dict.fromkeys(_FIELDS, "")
    return {**blank, "source_code": EXAMPLE, "source_type": "python", "return_char_limit": "50000"}


def _values_of(tool: Tool) -> dict[str, str]:
    """Return the fields of the form for a tool that is to be changed."""
    stored = tool.stored
    assert stored is not None
    metadata = stored.metadata or {}
    return {
        "source_code": stored.source_code or "",
        "source_type": _language(stored.source_type),
        "description": stored.description or "",
        "tags": ", ".join(stored.tags),
        "return_char_limit": str(stored.return_char_limit),
        "approval": "yes" if stored.default_requires_approval else "",
        "parallel": "yes" if stored.enable_parallel_execution else "",
        "packages": ", ".join(packages_of_tool(stored).requirements),
        "hosts": ", ".join(metadata.get("allowed_hosts") or ()),
        "limits": ", ".join(f"{name}={value}" for name, value in (metadata.get("limits") or {}).items()),
    }


async def _read_values(request: Request) -> dict[str, str]:
    form = await read_form(request)
    return {name: text_of(form, name) for name in _FIELDS}


def _fields(values: Mapping[str, str], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the form says, as the API takes it, with what else the tool's metadata holds."""
    language = _language(values["source_type"])
    pattern = _PACKAGE[language]
    packages = [match for text in choices(values["packages"]) if (match := pattern.fullmatch(text)) is not None]
    limits = [each.partition("=") for each in choices(values["limits"])]
    return {
        "source_type": language,
        "source_code": values["source_code"],
        "description": values["description"].strip() or None,
        "tags": choices(values["tags"]),
        "return_char_limit": values["return_char_limit"].replace(",", "").strip() or 50_000,
        "default_requires_approval": bool(values["approval"]),
        "enable_parallel_execution": bool(values["parallel"]),
        "pip_requirements" if language == "python" else "npm_requirements": [
            {"name": match[1], "version": match[2] or None} for match in packages
        ]
        or None,
        "metadata_": {
            **metadata,
            "allowed_hosts": choices(values["hosts"]),
            "limits": {name.strip(): _number(value.strip()) for name, _, value in limits},
        },
    }


def _number(text: str) -> int | float | str:
    """Return a number as it is written; any other text as it is, to be refused with its name."""
    if text.isdecimal():
        return int(text)
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else text


def _refused(error: ValidationError | FolkmootError, values: Mapping[str, str]) -> _Editing:
    """Return the form that could not do what it was asked to, with the line of the source that is wrong."""
    problems = problems_of(error, _FIELDS)
    for sent, field in _PLACES:
        text = problems.get("", "")
        if text.startswith(f"{sent}: ") or (isinstance(error, ValidationError) and sent in str(error)):
            place = "limits" if text.lower().startswith("limits: ") else field
            problems[place] = problems.pop("").removeprefix(f"{sent}: ")
    line = error.extra.get("line") if isinstance(error, FolkmootError) else None
    near: list[CodeLine] = []
    if isinstance(line, int):
        every = code_lines(values["source_code"], _language(values["source_type"]))
        near = [replace(each, marked=each.number == line) for each in every[max(0, line - 3) : line + 2]]
    return _Editing(values, problems, near)


def _run_fields(tool: Tool) -> list[_Field]:
    """Return the fields of the form that a tool is run with, from its schema."""
    parameters = tool.schema.parameters
    required = set(parameters.get("required") or ())
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    fields = []
    for name, schema in properties.items():
        told = schema if isinstance(schema, Mapping) else {}
        values = told.get("enum")
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            kind, options = "choice", values
        else:
            kinds = {"string": "text", "integer": "number", "number": "number", "boolean": "truth"}
            kind, options = kinds.get(str(told.get("type")), "json"), []
        fields.append(_Field(name, kind, name in required, str(told.get("description") or ""), options))
    return fields


def _arguments(fields: Sequence[_Field], values: Mapping[str, str]) -> dict[str, Any]:
    """Return a form's arguments; what is left empty and need not be there is not given.

    Raises:
        InvalidInput: one is no JSON where it has to be.
    """
    arguments: dict[str, Any] = {}
    for field in fields:
        text = values[field.name]
        if not text and not (field.required and field.kind == "text"):
            continue
        if field.kind != "json":
            arguments[field.name] = text
            continue
        try:
            arguments[field.name] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f'{field.name}: write it as JSON, such as ["a", "b"] or "text"; {error}.') from error
    return arguments
