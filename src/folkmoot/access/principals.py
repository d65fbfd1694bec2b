"""On whose behalf something happens: a request's principal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias, get_args

from folkmoot.identifiers import ORGANIZATION

Role: TypeAlias = Literal["reader", "member", "admin"]
"""What a principal may do, each also what those before it may: read; all but administration; administration."""

ROLES: tuple[Role, ...] = get_args(Role)

AgentAccess: TypeAlias = Literal["read_messages", "write_messages", "read_agent", "write_agent"]
"""What a scoped token may do with one agent."""

Kind: TypeAlias = Literal["local", "server_key", "key", "token", "session"]
"""How a principal is known: by nothing, since nobody needs a key; by FOLKMOOT_API_KEY; by what is stored."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a scoped token reaches, and the page that may send it; whatever is not named is closed."""

    agents: Mapping[str, frozenset[AgentAccess]]
    origin: str
    """The page's scheme, host and port, as browsers send them in `Origin`."""

    def to_json(self) -> str:
        """Return the policy as a JSON object."""
        return json.dumps(
            {"agents": {name: sorted(access) for name, access in self.agents.items()}, "origin": self.origin}
        )

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """Return the policy that `to_json` wrote."""
        read = json.loads(text)
        return cls({name: frozenset(access) for name, access in read["agents"].items()}, read["origin"])


BlockAccess: TypeAlias = Literal["write", "append", "read"]
"""What a member may do with a block: change everything, only add to it, only read it."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What an agent sends a tool's code out for, with a key that is lent for that: who writes is the agent."""

    agent_id: str
    agent_name: str
    run_id: str | None
    step_id: str | None
    asks_agents: bool
    """Whether other agents may be asked."""

    chain: tuple[str, ...] = ()
    """The agents that wait for the agent's answer."""

    hops: int = 0
    """How many messages between agents have set each other off up to the agent's turn."""


@dataclass(frozen=True, slots=True)
class Grants:
    """What a member's key reaches, by identifier; whatever is not named is closed."""

    blocks: Mapping[str, BlockAccess]
    agents: frozenset[str] = frozenset()
    """Agents that the member may ask."""

    errand: Errand | None = None
    """On which errand of an agent the key is lent; None for a member's own."""

    def to_json(self) -> str:
        """Return the grants as a JSON object."""
        errand = None if self.errand is None else asdict(self.errand)
        return json.dumps({"blocks": dict(self.blocks), "agents": sorted(self.agents), "errand": errand})

    @classmethod
    def from_json(cls, text: str) -> Grants:
        """Return the grants that `to_json` wrote."""
        read = json.loads(text)
        errand = read.get("errand")
        if errand is not None:
            errand = Errand(**{**errand, "chain": tuple(errand["chain"])})
        return cls(read["blocks"], frozenset(read["agents"]), errand)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request, for which organisation, with which role."""

    name: str
    kind: Kind
    organization_id: str
    role: Role
    id: str | None = None
    """The stored key's identifier; None where there is none."""

    policy: Policy | None = None
    """What a scoped token reaches; None for those who have none."""

    session_id: str | None = None
    """The session that a browser is known by."""

    grants: Grants | None = None
    """What a member's key reaches; None for those whom their role alone limits."""

    @property
    def is_scoped(self) -> bool:
        """Whether the principal reaches only what is named for it, in place of what its role allows."""
        return self.policy is not None or self.grants is not None

    @property
    def sends_key(self) -> bool:
        """Whether the request itself carries a key, which no page of another site could add to it."""
        return self.kind in ("server_key", "key", "token")


LOCAL = Principal("local", "local", ORGANIZATION, "admin")
"""Everybody who reaches a server where nobody needs a key."""

ADMIN = Principal("admin", "server_key", ORGANIZATION, "admin")
"""Who has FOLKMOOT_API_KEY."""


def at_least(role: Role, needed: Role) -> bool:
    """Tell whether a role may do what another one may.

    >>> at_least("admin", "member"), at_least("reader", "member")
    (True, False)
    """
    return ROLES.index(role) >= ROLES.index(needed)
