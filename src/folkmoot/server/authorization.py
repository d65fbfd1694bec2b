"""What a principal may ask for: the one place where that is decided, by the request's method and path.

Closed by default: a path that stands in no list below needs the role `member` to change something, `reader` to be read,
and is closed to scoped tokens and to members' keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from folkmoot.access.principals import AgentAccess, BlockAccess, Errand, Grants, Principal, Role, at_least
from folkmoot.errors import Forbidden
from folkmoot.identifiers import ORGANIZATION

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


_AGENT = r"/v1/agents/(agent-[^/]+)"
_BLOCK = r"/v1/blocks/(block-[^/]+)"


def _one_of(*paths: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{path})" for path in paths), re.DOTALL)


WHOLE_SERVER = _one_of(
    "/v1/organizations", "/v1/organizations/[^/]+", "/v1/admin(?:/.*)?", "/v1/backup", "/settings/backup"
)
"""For admins of the default organisation only."""

ADMINISTRATION = _one_of(
    "/v1/keys(?:/.*)?", "/members(?:/.*)?", "/v1/client-side-access-tokens(?:/.*)?", WHOLE_SERVER.pattern
)
"""For admins, whatever the method."""

METRICS = "/metrics"
"""Figures of the whole server, for keys of the default organisation, or without one on the machine itself."""

DOOR = re.compile("/mcp")
"""Where agents from elsewhere come in: which tools each may use is decided there."""

READING_POSTS = _one_of(
    DOOR.pattern,
    "/logout",
    "/v1/messages/search",
    "/v1/agents/messages/search",
    "/v1/passages/search",
    "/v1/agents/search",
    "/v1/agents/[^/]+/mcp-servers/tools/search",
    "/v1/tools/search",
    "/v1/tools/generate-schema",
    "/v1/agents/[^/]+/messages/preview-raw-payload",
    "/v1/conversations/[^/]+/messages/preview-raw-payload",
    "/v1/conversations/[^/]+/stream",
    "/v1/runs/[^/]+/stream",
)
"""What changes nothing although it is a POST: a reader may ask for it."""

CHANGING_GETS = _one_of("/v1/mcp-servers/connect/[^/]+", "/v1/tools/mcp/servers/[^/]+/tools")
"""What changes something although it is a GET: a sign-in is kept, a program is started."""

FORM_PAGES = _one_of("/(?:agents|archives|blocks|folders|models|tools)/new", "/agents/import")
"""Pages that are nothing but a form."""

BY_TOKEN: Mapping[AgentAccess, Mapping[str, re.Pattern[str]]] = {
    "read_messages": {"GET": re.compile(f"{_AGENT}/messages")},
    "write_messages": {"POST": re.compile(f"{_AGENT}/messages(?:/(?:stream|async|cancel))?")},
    "read_agent": {"GET": re.compile(f"{_AGENT}(?:/(?:tools|core-memory(?:/watch|/blocks(?:/[^/]+)?)?))?")},
    "write_agent": {"PATCH": re.compile(f"{_AGENT}(?:/core-memory/blocks/[^/]+)?")},
}
"""What each access of a scoped token's policy opens: by method the paths, whose group is the agent."""


BY_MEMBER: Mapping[BlockAccess, Mapping[str, re.Pattern[str]]] = {
    "read": {"GET": re.compile(f"{_BLOCK}(?:/(?:history(?:/[^/]+)?|blame|watch))?")},
    "append": {"POST": re.compile(f"{_BLOCK}/edits")},
}
"""What each access of a member to a block opens, with what it opens below; which edits, the block's writer decides."""


_LABEL = r"/core-memory/blocks/(?!(?:attach|detach)/)[^/]+"

ON_ERRAND: Mapping[str, re.Pattern[str]] = {
    "GET": re.compile(
        rf"{_AGENT}(?:/(?:tools|messages|context|archives|archival-memory(?:/search)?|folders|files|core-memory"
        r"(?:/blocks(?:/[^/]+)?)?))?"
    ),
    "PATCH": re.compile(f"{_AGENT}{_LABEL}"),
    "POST": re.compile(f"{_AGENT}(?:{_LABEL}/edits|/archival-memory)"),
    "DELETE": re.compile(f"{_AGENT}/archival-memory/[^/]+"),
}
"""What a key that is lent to an agent's tool opens of the agent itself: what agents do with their own tools."""

TO_OTHERS = re.compile(f"{_AGENT}/messages(?:/(?:stream|async))?")
"""Where such a key asks other agents, if its agent has a tool for that."""

OVERWRITING = re.compile(_BLOCK)
"""Where such a key overwrites the text of a block that the agent may write."""


def authorize(principal: Principal, method: str, path: str) -> None:
    """Let a request pass.

    Args:
        principal: who sends it.
        method: its method, in capitals.
        path: its path as the routes are matched with, without a slash at the end.

    Raises:
        Forbidden: the principal may not send it.
    """
    if principal.policy is not None:
        _check_policy(principal, method, path)
        return
    if principal.grants is not None:
        errand = principal.grants.errand
        if errand is None or not _is_on_errand(errand, principal.grants, method, path):
            _check_grants(principal.grants, method, path)
        return
    needed = role_for(method, path)
    if not at_least(principal.role, needed):
        raise Forbidden(
            f"{method} {path} needs the role {needed}; the key {principal.name!r} has the role {principal.role}."
        )
    if path == METRICS and (principal.is_scoped or principal.organization_id != ORGANIZATION):
        raise Forbidden("Figures of the whole server are shown to unscoped keys of the default organisation.")
    if principal.organization_id != ORGANIZATION and WHOLE_SERVER.fullmatch(path):
        raise Forbidden(f"{method} {path} needs an admin's key of the default organisation.")


def role_for(method: str, path: str) -> Role:
    """Return the role that a request needs at least."""
    if ADMINISTRATION.fullmatch(path):
        return "admin"
    if CHANGING_GETS.fullmatch(path) or FORM_PAGES.fullmatch(path):
        return "member"
    if method in SAFE_METHODS or (method == "POST" and READING_POSTS.fullmatch(path)):
        return "reader"
    return "member"


def _opening(opened: Mapping[str, re.Pattern[str]], method: str, path: str) -> re.Match[str] | None:
    """Return how a path matches what is opened to a method; what is open to GET is to HEAD."""
    pattern = opened.get("GET" if method == "HEAD" else method)
    return pattern.fullmatch(path) if pattern is not None else None


def _check_policy(principal: Principal, method: str, path: str) -> None:
    assert principal.policy is not None
    for access, opened in BY_TOKEN.items():
        match = _opening(opened, method, path)
        if match is not None and access in principal.policy.agents.get(match[1], ()):
            return
    raise Forbidden(f"This token's policy does not open {method} {path}.")


def _is_on_errand(errand: Errand, grants: Grants, method: str, path: str) -> bool:
    """Tell whether a request is one that an agent's tool may send with the key that it was lent."""
    match = _opening(ON_ERRAND, method, path)
    if match is not None and match[1] == errand.agent_id:
        return True
    if method == "POST" and (other := TO_OTHERS.fullmatch(path)) is not None:
        if other[1] == errand.agent_id:
            raise Forbidden(f"Agent {errand.agent_id} is in the middle of a turn, which waits for this tool.")
        if not errand.asks_agents:
            raise Forbidden("This agent has no tool to ask other agents with, so that its tools cannot ask them.")
        return True
    overwritten = OVERWRITING.fullmatch(path) if method == "PATCH" else None
    return overwritten is not None and grants.blocks.get(overwritten[1]) == "write"


def _check_grants(grants: Grants, method: str, path: str) -> None:
    if DOOR.fullmatch(path):
        if grants.errand is not None and method != "POST":
            raise Forbidden("A key that is lent for one errand has nothing to listen to.")
        return
    for access, opened in BY_MEMBER.items():
        match = _opening(opened, method, path)
        if match is None:
            continue
        has = grants.blocks.get(match[1])
        if has is None:
            raise Forbidden(f"This key does not reach {match[1]}.")
        if access == "append" and has == "read":
            raise Forbidden(f"This key may only read {match[1]}.")
        return
    raise Forbidden(f"This key reaches blocks that were named when it was made, and not {method} {path}.")
