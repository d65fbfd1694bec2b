"""What the server is set to, for people: each setting's value in words, with the variable that changes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from folkmoot.settings import PREFIX, Settings, without_password

GROUPS: Mapping[str, Sequence[str]] = {
    "Store": ("database", "database_connections", "data", "workers", "store_wait", "secret_key"),
    "Access": (
        *("host", "port", "api_key", "insecure", "allowed_hosts", "allowed_origins", "trusted_proxies"),
        *("max_connections", "request_timeout", "max_body", "max_file"),
    ),
    "What is kept how long": (
        *("trace", "recent_traces", "recent_traces_size", "keep_traces", "keep_streams", "keep_steps", "keep_jobs"),
        *("keep_tool_packages", "tool_packages_size"),
    ),
    "Models": (
        *("default_model", "default_embedding", "context_window", "context_messages", "model_timeout"),
        *("model_retries", "max_steps", "sleeptime_idle", "prices", "private_providers"),
    ),
    "Tools and the sandbox": (
        *("tool_sandbox", "tool_limits", "tool_calls", "tool_timeout", "tool_private_hosts", "mcp_stdio"),
        *("private_mcp_servers", "private_webpages", "search_url", "search_folder"),
    ),
}
"""Settings by what a person looks for; any other stands behind them."""

OTHERS = "Everything else"


@dataclass(frozen=True, slots=True)
class Fact:
    """One setting: its value in words, what it is for, and the variable that changes it."""

    value: str
    variable: str
    about: str


def server_facts(settings: Settings) -> dict[str, list[Fact]]:
    """Return all settings by group; of secrets only whether they are set."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = [name for name in Settings.model_fields if name not in grouped]
    return {group: [_fact(settings, name) for name in names] for group, names in {**GROUPS, OTHERS: others}.items()}


def _fact(settings: Settings, name: str) -> Fact:
    about = Settings.model_fields[name].description or ""
    value = settings.database_url if name == "database" else getattr(settings, name)
    words = str(value) if name == "port" else _words(value, about)
    return Fact(words, PREFIX + name.upper(), about)


def _words(value: Any, about: str) -> str:
    """Return a value for people.

    >>> _words(86_400.0, "Seconds that …"), _words(("a", "b"), ""), _words(True, ""), _words(None, "")
    ('86,400 s (1 day)', 'a, b', 'yes', 'not set')
    """
    if value is None or value in ("", ()):
        return "not set"
    if isinstance(value, SecretStr):
        return "set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float) and about.startswith("Seconds"):
        days = value / 86_400
        return f"{value:,.10g} s" + (f" ({days:g} {'day' if days == 1 else 'days'})" if days >= 1 else "")
    return f"{value:,}" if isinstance(value, int) and value > 9999 else without_password(str(value))
