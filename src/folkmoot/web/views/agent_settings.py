"""An agent's settings: what it is, what it is told, how its context is kept small, its tools and its secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.compaction import CompactionSettings
from folkmoot.agents.listing import tags_of_agents
from folkmoot.agents.tool_rules import ToolRules
from folkmoot.errors import FolkmootError, InvalidInput
from folkmoot.models.checking import CheckedModel, check_model
from folkmoot.server.routes.agents import change_agent
from folkmoot.server.scanning import Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agents import UpdateAgent
from folkmoot.server.wire.common import AgentId
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import Tool
from folkmoot.web.diffs import ShownLine, around_changes
from folkmoot.web.forms import SettingsForm, choices, fingerprint, problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.settings_code import agent_settings_calls

router = page_router()

MODES = {
    "sliding_window": "the oldest messages leave, a model sums them up",
    "all": "all messages leave, a model sums them up",
    "self_compact_sliding_window": "the oldest leave, the agent sums them up itself",
    "self_compact_all": "all leave, the agent sums them up itself",
}
"""How a full context is made smaller, by the wire format's names."""

COMPACTION = ("mode", "keep", "longest", "summary_model", "prompt", "archive")
FIELDS = ("name", "model", "description", "tags", "system", "enable_sleeptime", "tool_rules", *COMPACTION)


@dataclass(frozen=True, slots=True)
class _About:
    agent: Agent
    values: Mapping[str, str]
    tools: Sequence[Tool]
    secrets: Sequence[str]


@router.get("/agents/{agent_id}/settings")
async def show(request: Request, agent_id: AgentId, state: State, saved: str = "", ask: str = "") -> Response:
    """Show an agent's settings; `ask` opens a question, such as whether to delete it."""
    return await _page(request, agent_id, state, saved=saved, ask=ask)


@router.post("/agents/{agent_id}/settings")
async def change(request: Request, agent_id: AgentId, state: State) -> Response:
    """Change what differs, unless somebody else has since; a new system prompt is shown as a diff first."""
    form = await read_form(request)
    values = {name: text_of(form, name) for name in FIELDS}
    seen, reviewed = text_of(form, "seen"), text_of(form, "reviewed")

    async def write(transaction: Transaction) -> SettingsForm | Sequence[ShownLine] | None:
        """Return the form that somebody came before, or what is to be looked at first; None when it is saved."""
        agent = await find_agent(transaction, agent_id, lock=True)
        now = _values_of(agent, (await tags_of_agents(transaction, [agent_id])).get(agent_id, []))
        if fingerprint(now) not in (seen, fingerprint(values)):
            return SettingsForm.overtaken(values, now)
        fields = _changed_fields(values, now, agent.configuration)
        if values["summary_model"].strip():
            _check_handle("summary_model", values["summary_model"].strip(), state)
        if "system" in fields and reviewed != fingerprint(values["system"]):
            return around_changes(now["system"], values["system"])
        await change_agent(transaction, agent_id, UpdateAgent.model_validate(fields), state)
        return None

    try:
        left = await state.store.write(write)
    except (ValidationError, FolkmootError) as error:
        shown = SettingsForm(values, seen, problems=_problems(error))
        return await _page(request, agent_id, state, 422, shown=shown)
    if isinstance(left, SettingsForm):
        return await _page(request, agent_id, state, 409, shown=left)
    if left is not None:
        return await _page(request, agent_id, state, shown=SettingsForm(values, seen), review=left)
    return redirect(f"/agents/{agent_id}/settings?saved=yes")


@router.post("/agents/{agent_id}/settings/check")
async def check(request: Request, agent_id: AgentId, state: State) -> Response:
    """Ask the form's model whether it is there; nothing is saved, and nothing of the form is lost."""
    form = await read_form(request)
    values, seen = {name: text_of(form, name) for name in FIELDS}, text_of(form, "seen")
    try:
        handle = state.services.catalogue.handle_of(values["model"])
        checked = await Scanning(state.store, request).while_here(check_model(state.services.models.ask, handle))
    except FolkmootError as error:
        shown = SettingsForm(values, seen, problems={"model": error.message})
        return await _page(request, agent_id, state, error.status, shown=shown)
    return await _page(request, agent_id, state, shown=SettingsForm(values, seen), checked=checked)


@router.post("/agents/{agent_id}/settings/secret")
async def set_secret(request: Request, agent_id: AgentId, state: State) -> Response:
    """Set a secret of the agent, or replace it; its value is not shown again."""
    form = await read_form(request)
    name = text_of(form, "secret").strip()
    if not name:
        raise InvalidInput("secret: say what the secret is called, such as WEATHER_KEY.")
    return await _with_secrets(agent_id, state, {name: text_of(form, "value")})


@router.post("/agents/{agent_id}/settings/forget")
async def forget_secret(request: Request, agent_id: AgentId, state: State) -> Response:
    """Remove a secret of the agent."""
    return await _with_secrets(agent_id, state, {text_of(await read_form(request), "secret"): None})


async def _with_secrets(agent_id: str, state: ServerState, changes: Mapping[str, str | None]) -> Response:
    async def write(transaction: Transaction) -> None:
        agent = await find_agent(transaction, agent_id, lock=True)
        secrets = {**state.services.sealer.unseal(agent.configuration.get("sealed_variables")), **changes}
        kept = {name: value for name, value in secrets.items() if value is not None}
        await change_agent(transaction, agent_id, UpdateAgent.model_validate({"secrets": kept}), state)

    await state.store.write(write)
    return redirect(f"/agents/{agent_id}/settings#secrets")


async def _page(
    request: Request,
    agent_id: str,
    state: ServerState,
    status: int = 200,
    *,
    shown: SettingsForm | None = None,
    review: Sequence[ShownLine] | None = None,
    checked: CheckedModel | None = None,
    saved: str = "",
    ask: str = "",
) -> Response:
    models = [model.handle for model in await state.services.catalogue.models()]
    every = await state.store.read(state.services.tools.entries)
    about = await state.store.read(lambda transaction: _read(transaction, agent_id, state))
    form = shown or SettingsForm(about.values, fingerprint(about.values))
    held = {tool.id for tool in about.tools}
    return render(
        request,
        "agent_settings.html",
        status,
        agent=about.agent,
        now=about.values,
        form=form,
        review=review,
        reviewed="" if review is None else fingerprint(form.values["system"]),
        checked=checked,
        saved=saved,
        ask=ask,
        models=models,
        modes=MODES,
        tools=about.tools,
        rules=ToolRules.read(about.agent.configuration.get("tool_rules") or ()),
        other_tools=[entry for entry in every if entry.id not in held],
        secrets=about.secrets,
        shows_secrets=state.shows_secrets,
        calls=agent_settings_calls(agent_id, about.agent.model),
    )


async def _read(transaction: Transaction, agent_id: str, state: ServerState) -> _About:
    agent = await find_agent(transaction, agent_id)
    sealed = agent.configuration.get("sealed_variables") if state.shows_secrets else None
    return _About(
        agent=agent,
        values=_values_of(agent, (await tags_of_agents(transaction, [agent_id])).get(agent_id, [])),
        tools=await tools_of(transaction, agent_id, state.services.tools),
        secrets=sorted(state.services.sealer.unseal(sealed)),
    )


def _values_of(agent: Agent, tags: Sequence[str]) -> dict[str, str]:
    """Return an agent's settings as the form holds them."""
    kept = agent.configuration.get("compaction_settings") or {}
    compaction = CompactionSettings.read(kept)
    rules = agent.configuration.get("tool_rules") or []
    return {
        "name": agent.name,
        "model": agent.model,
        "description": agent.description or "",
        "tags": ", ".join(tags),
        "system": agent.system.replace("\r\n", "\n"),
        "enable_sleeptime": "yes" if agent.configuration.get("enable_sleeptime") else "",
        "tool_rules": json.dumps(rules, indent=2, ensure_ascii=False) if rules else "",
        "mode": kept["mode"] if kept.get("mode") in MODES else "sliding_window",
        "keep": f"{compaction.keep * 100:g}",
        "longest": str(compaction.longest or ""),
        "summary_model": compaction.model or "",
        "prompt": (compaction.prompt or "").replace("\r\n", "\n"),
        "archive": "yes" if compaction.archive else "",
    }


def _changed_fields(
    values: Mapping[str, str], now: Mapping[str, str], configuration: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the form changes, as the API takes it.

    Raises:
        InvalidInput: a field cannot be read.
    """
    changed = [name for name in FIELDS if values[name] != now[name]]
    fields: dict[str, Any] = {name: values[name] for name in ("name", "model", "system") if name in changed}
    if "description" in changed:
        fields["description"] = values["description"] or None
    if "tags" in changed:
        fields["tags"] = choices(values["tags"])
    if "enable_sleeptime" in changed:
        fields["enable_sleeptime"] = bool(values["enable_sleeptime"])
    if "tool_rules" in changed:
        fields["tool_rules"] = _rules(values["tool_rules"])
    if any(name in COMPACTION for name in changed):
        kept = dict(configuration.get("compaction_settings") or {})
        told = _compaction(values)
        unset = [name for name, value in told.items() if value is None]
        fields["compaction_settings"] = {name: value for name, value in (kept | told).items() if name not in unset}
    return fields


def _check_handle(field: str, handle: str, state: ServerState) -> None:
    """Refuse a model that cannot be asked, with the field that names it."""
    try:
        state.services.catalogue.handle_of(handle)
    except FolkmootError as error:
        raise InvalidInput(f"{field}: {error.message}") from error


def _rules(text: str) -> list[Any]:
    try:
        rules = json.loads(text or "[]")
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"tool_rules: this is no JSON: {error}.") from error
    if not isinstance(rules, list):
        raise InvalidInput("tool_rules: write a list of rules, in square brackets.")
    return rules


def _compaction(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the form's words on compaction as the wire format has them; what is None is left to the server."""
    keep, longest = values["keep"].removesuffix("%").strip(), values["longest"].replace(",", "").strip()
    if values["mode"] not in MODES:
        raise InvalidInput(f"mode: {values['mode']!r} is none of {', '.join(MODES)}.")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,9})?", keep) or float(keep) > 100:
        raise InvalidInput("keep: write a number from 0 to 100.")
    if longest and not (longest.isdecimal() and len(longest) < 10):
        raise InvalidInput("longest: write a whole number of characters, such as 50000, or nothing.")
    return {
        "mode": values["mode"],
        "sliding_window_percentage": round(1 - float(keep) / 100, 11),
        "clip_chars": int(longest) if longest else 0,
        "model": values["summary_model"].strip() or None,
        "prompt": values["prompt"].strip() or None,
        "archive": bool(values["archive"]),
    }


def _problems(error: ValidationError | FolkmootError) -> dict[str, str]:
    """Return what is wrong by the form's fields."""
    problems = problems_of(error, FIELDS)
    text = problems.get("", "")
    if text.startswith("tool_rules."):
        problems["tool_rules"] = problems.pop("")
    elif "model" in text or "rovider" in text:
        problems["model"] = problems.pop("")
    return problems
