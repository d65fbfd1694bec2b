"""The server's settings: its providers and models, which can be tried, and what it is set to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from folkmoot.access.principals import Principal
from folkmoot.errors import FolkmootError, NotFound
from folkmoot.identifiers import ORGANIZATION
from folkmoot.models.checking import check_model
from folkmoot.models.directory import Directory
from folkmoot.models.listing import ModelDescription
from folkmoot.models.providers import OFFLINE, Provider, is_installed
from folkmoot.server.routes import providers as api
from folkmoot.server.routes.backup import download_backup
from folkmoot.server.routes.health import CONTRACT_VERSION
from folkmoot.server.scanning import Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.providers import ProviderId
from folkmoot.settings import without_password
from folkmoot.web.forms import text_of
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.server_facts import server_facts
from folkmoot.web.settings_code import settings_calls
from folkmoot.web.words import number

router = page_router()


@dataclass(frozen=True, slots=True)
class _ShownProvider:
    """A provider with what it lists."""

    provider: Provider
    models: Sequence[ModelDescription]
    address: str
    installed: bool

    @property
    def added_id(self) -> str:
        """Its identifier where it was added here; empty where the server's environment names it."""
        return self.provider.revision[0] if self.provider.revision is not None else ""


@dataclass(frozen=True, slots=True)
class _Tried:
    """What came of a try: of a model by its handle, or of a provider by its name."""

    what: str
    words: str
    failed: bool = False


@router.get("/settings")
async def show(request: Request, state: State, ask: str = "") -> Response:
    """Show the server's settings; `ask` names the provider about whose removal is asked."""
    return await _page(request, state, ask=ask)


@router.post("/settings/check")
async def check(request: Request, state: State) -> Response:
    """Ask a model whether it is there."""
    handle = text_of(await read_form(request), "handle").strip()
    try:
        known = state.services.catalogue.handle_of(handle)
        checked = await Scanning(state.store, request).while_here(check_model(state.services.models.ask, known))
    except FolkmootError as error:
        return await _page(request, state, error.status, tried=_Tried(handle, error.message, failed=True))
    said = f": “{checked.answer[:200]}”" if checked.answer else ", with no words"
    tried = _Tried(handle, f"{known} answered after {number(checked.milliseconds)} ms{said}")
    return await _page(request, state, tried=tried)


@router.post("/settings/look")
async def look(request: Request, state: State) -> Response:
    """Ask a provider for its list of models anew, which also shows whether it takes the key."""
    name = text_of(await read_form(request), "provider")
    catalogue = state.services.catalogue
    try:
        if name not in {each.name for each in _directory(state).configured() if each is not OFFLINE}:
            raise NotFound(f"There is no provider {name!r} here.")
        resolved = _directory(state).resolve(f"{name}/any")
        models = await Scanning(state.store, request).while_here(catalogue.told_by(resolved))
    except FolkmootError as error:
        return await _page(request, state, error.status, tried=_Tried(name, error.message, failed=True))
    catalogue.keep(resolved.provider, models)
    count = sum(model.kind == "llm" for model in models)
    return await _page(request, state, tried=_Tried(name, f"{name} takes the key and lists {number(count)} models"))


@router.post("/settings/backup")
async def backup(state: State) -> Response:
    """Return a backup of the whole server as a file."""
    return await download_backup(state)


@router.post("/settings/{provider_id}/remove")
async def remove(provider_id: ProviderId, state: State) -> Response:
    """Remove a provider that was added."""
    await api.delete(provider_id, state)
    return redirect("/settings")


async def _page(
    request: Request, state: ServerState, status: int = 200, *, tried: _Tried | None = None, ask: str = ""
) -> Response:
    catalogue = state.services.catalogue
    listed: defaultdict[str, list[ModelDescription]] = defaultdict(list)
    for model in await catalogue.models():
        listed[model.provider].append(model)
    default = await catalogue.default_model()
    walls = state.shared.sandbox.known
    return render(
        request,
        "settings.html",
        status,
        providers=[_shown(each, listed[each.name]) for each in _directory(state).configured()],
        handles=[model.handle for models in listed.values() for model in models],
        default=default,
        tried=tried,
        ask=ask,
        contract=CONTRACT_VERSION,
        walls=walls.line if walls is not None else "not tried yet",
        facts=server_facts(state.shared.settings) if _sees_facts(state.principal) else {},
        calls=settings_calls(default),
    )


def _directory(state: ServerState) -> Directory:
    return state.shared.directory.of(state.principal.organization_id)


def _shown(provider: Provider, models: Sequence[ModelDescription]) -> _ShownProvider:
    address = without_password(models[0].endpoint) if models else ""
    return _ShownProvider(provider, models, address, is_installed(provider))


def _sees_facts(principal: Principal) -> bool:
    """Tell whether somebody is shown what the whole server is set to: who administers its organisations is."""
    return principal.role == "admin" and not principal.is_scoped and principal.organization_id == ORGANIZATION
