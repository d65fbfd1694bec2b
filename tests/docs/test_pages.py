"""What can be set, chosen and called is in the documentation, and the documentation names nothing that is not there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer.main
from pages import PAGES, ROOT, without_examples
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from folkmoot.cli import application
from folkmoot.models.providers import PROVIDERS, Provider
from folkmoot.settings import Settings
from folkmoot.tools.builtin import BUILTIN_TOOLS
from support.routes import described

README = (ROOT / "README.md").read_text()
METHODS = ("get", "post", "put", "patch", "delete")
TOLD_OTHERWISE = {
    "data",
    "database",
    "api_key",
    "url",
    "allowed_hosts",
    "allowed_origins",
    "trusted_proxies",
    "tool_private_hosts",
    "tool_limits",
    "tool_calls",
    "secret_key",
    "callback_secret",
    "default_model",
    "default_embedding",
    "search_url",
    "search_folder",
    "prices",
}
"""Settings whose default is words in the table, or a path."""


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows of a page."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def section(text: str, title: str) -> str:
    """Return what stands under a heading, to the next heading of the same or a higher level."""
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[2]


CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
ROUTES = (ROOT / "docs" / "routes.md").read_text()
SETTINGS = {row[0]: row for row in table_rows(CONFIGURATION)}
PROVIDER_ROWS = {row[1]: row for row in table_rows(section(README, "Models"))}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table_with_its_default(name: str) -> None:
    variable, _, default, meaning = SETTINGS[f"`FOLKMOOT_{name.upper()}`"]
    field = Settings.model_fields[name]
    assert variable
    assert meaning
    if name not in TOLD_OTHERWISE:
        assert field.default is not PydanticUndefined
        assert not isinstance(field.default, SecretStr)
        shown = field.default
        expected = (
            str(shown).lower()
            if isinstance(shown, bool)
            else f"{shown:.15g}"
            if isinstance(shown, float)
            else str(shown)
        )
        assert default == f"`{expected}`"


def test_the_table_names_no_setting_that_is_not_there() -> None:
    named = {re.sub(r"`|FOLKMOOT_", "", cell).lower() for cell in SETTINGS if cell.startswith("`FOLKMOOT_")}
    assert named == set(Settings.model_fields)


def test_what_the_readme_says_of_a_setting_is_what_the_table_says() -> None:
    for variable, *rest in table_rows(section(README, "Configuration"))[2:]:
        assert [cell.replace("](docs/", "](") for cell in rest] == SETTINGS[variable][1:]


def test_every_option_of_the_command_is_named() -> None:
    command = typer.main.get_command(application)
    commands = {"": command, **command.commands}  # type: ignore[attr-defined]
    for name, one in commands.items():
        for parameter in one.params:
            assert re.search(rf"{parameter.opts[0]}[` ]", CONFIGURATION), (name, parameter.opts)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: str(provider.name))
def test_every_provider_is_in_the_table(provider: Provider) -> None:
    row = PROVIDER_ROWS[f"`{provider.name}/…`"]
    title, _, keys, addresses, default = row
    assert provider.title in title
    assert set(re.findall(r"`(\w+)`", keys)) == set(provider.key_variables)
    assert set(re.findall(r"`(\w+)`", addresses)) == set(provider.address_variables)
    if provider.default_model is not None:
        assert default == f"`{provider.default_model}`"


@pytest.mark.parametrize("name", BUILTIN_TOOLS)
def test_every_tool_is_in_the_documentation(name: str) -> None:
    assert any(f"`{name}`" in text or f"`{name}(" in text for text in (page.read_text() for page in PAGES))


@cache
def routes() -> list[tuple[str, str]]:
    """Return the method and path of every route of the API."""
    return [(method.upper(), path) for path, methods in described().items() for method in methods if method in METHODS]


def comparable(path: str) -> str:
    """Return a path without the names of its parameters: `/v1/blocks/{id}` and `/v1/blocks/{block_id}` are the same."""
    return re.sub(r"\{[^}]*\}", "{}", path).rstrip("/")


def covers(named: str, path: str) -> bool:
    """Tell whether a page that names the one speaks of the other."""
    return path == named or path.startswith(f"{named}/")


def test_every_route_is_in_the_documentation() -> None:
    told = "".join(
        page.read_text().replace(section(README, "Not yet"), "") if page.name == "README.md" else page.read_text()
        for page in PAGES
    )
    named = {comparable(path) for path in re.findall(r"(?:/openai)?/v1(?:/[\w{}-]+)+", told)}
    missing = [f"{method} {path}" for method, path in routes() if not any(covers(n, comparable(path)) for n in named)]
    assert missing == []


def test_what_the_readme_says_is_not_there_is_not_there() -> None:
    for method, path in re.findall(r"`(?:(\w+) )?(/v1/[^`]*)`", section(README, "Not yet")):
        there = [
            (other, route)
            for other, route in routes()
            if covers(comparable(path), comparable(route)) and method in ("", other)
        ]
        assert there == [], f"{method} {path} works by now; move it to docs/routes.md"


def test_the_routes_that_are_listed_are_there() -> None:
    for path in re.findall(r"`(/v1/[^`]*)`", ROUTES):
        assert any(covers(comparable(path), comparable(route)) for _, route in routes()), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_examples(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_examples(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_picture_is_well_formed_and_asks_no_server_for_anything() -> None:
    picture = ROOT / "docs" / "demo.svg"
    root = ElementTree.parse(picture).getroot()
    assert root.tag.endswith("svg")
    assert "@import" not in picture.read_text()
    assert "url(http" not in picture.read_text().replace('"', "")
    assert "who wrote what" in picture.read_text().replace("&#160;", " ")


def test_the_readme_says_that_folkmoot_is_independent() -> None:
    assert "Folkmoot is independent of Letta, Inc." in README
