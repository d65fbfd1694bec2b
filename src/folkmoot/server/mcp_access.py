"""Who may have this server start programs of its machine, and who sees how servers of tools are reached."""

from __future__ import annotations

from folkmoot.access.principals import at_least
from folkmoot.errors import Forbidden
from folkmoot.identifiers import ORGANIZATION
from folkmoot.server.state import ServerState
from folkmoot.tools.mcp.configuration import ServerConfiguration


def sees_all(state: ServerState) -> bool:
    """Tell whether a request is shown the arguments of programs and the paths of addresses."""
    return at_least(state.principal.role, "admin")


def check_may_start(state: ServerState, *configurations: ServerConfiguration) -> None:
    """Let a request add or change servers of tools that are programs of this machine.

    Raises:
        Forbidden: one is a program, and the principal is no admin of the default organisation.
    """
    principal = state.principal
    operates = at_least(principal.role, "admin") and principal.organization_id == ORGANIZATION
    if any(each.is_program for each in configurations) and not operates:
        raise Forbidden(
            "mcp_server_type: a server that is a program of this machine (stdio) is added and changed with an admin's "
            "key of the default organisation only; use streamable_http, or ask an admin."
        )
