"""Keys, scoped tokens and organisations on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from folkmoot.access.keys import Key
from folkmoot.access.organizations import Organization
from folkmoot.access.principals import AgentAccess, BlockAccess, Policy, Role
from folkmoot.identifiers import user_of
from folkmoot.server.origins import origin_of
from folkmoot.server.wire.common import MOST_ITEMS, AgentId, Reply, Request, Text, moment

MOST_GRANTS = 100
"""Blocks, and agents, that a member's key may name."""

MOST_AGENTS = 100
"""Agents that a scoped token's policy may name."""

Name = Annotated[Text, Field(min_length=1, max_length=100)]


class BlockGrant(Request):
    """A block that a member's key is to reach."""

    block: Text = Field(description="Its identifier, or its label when no other block has it.")
    access: BlockAccess = Field("write", description="write, append or read.")


class ArchiveGrant(Request):
    """An archive that a member's key is to reach."""

    archive: Text = Field(description="Its identifier, or its name when no other archive has it.")
    access: BlockAccess = Field("read", description="write or append, to add passages, or read, to search.")


class MemberGrants(Request):
    """What a member's key reaches."""

    blocks: list[BlockGrant] | None = Field(
        None, max_length=MOST_GRANTS, description="The only blocks that the key reaches: it is a member's."
    )
    agents: list[Text] | None = Field(
        None, max_length=MOST_GRANTS, description="The only agents that the key may ask, by identifier or name."
    )
    archives: list[ArchiveGrant] | None = Field(
        None, max_length=MOST_GRANTS, description="The only archives that the key reaches."
    )


class CreateKey(MemberGrants):
    """A new key."""

    name: Name = Field(description="What histories and logs call who has the key.")
    role: Role = Field("member", description="reader (reads only), member (all but administration) or admin.")
    expires_at: datetime | None = Field(None, description="When it ends; it lasts until it is revoked if left out.")
    user: Text | None = Field(
        None,
        description="Identifier or name of a user who came from another server: the key is theirs, and what they write "
        "with it stands in histories beside what they wrote there.",
    )
    organization: Text | None = Field(
        None, description="Identifier or name; only an admin of the default organisation names another than its own."
    )


class ShownBlockGrant(Reply):
    """A block that a member's key reaches."""

    id: str
    label: str | None = Field(description="Null for a block that was deleted.")
    access: BlockAccess


class ShownArchiveGrant(Reply):
    """An archive that a member's key reaches."""

    id: str
    name: str | None = Field(description="Null for an archive that was deleted.")
    access: BlockAccess


class KeyReply(Reply):
    """A key, without the key itself."""

    id: str
    name: str
    prefix: str
    role: Role
    organization_id: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    blocks: list[ShownBlockGrant] | None = Field(description="The only blocks that a member's key reaches.")
    agents: list[str] | None = Field(description="The only agents that a member's key may ask.")
    archives: list[ShownArchiveGrant] | None = Field(description="The only archives that a member's key reaches.")

    @classmethod
    def of(cls, key: Key, labels: Mapping[str, str]) -> KeyReply:
        """Show a key; `labels` are those of the blocks, and archives, that are there."""
        return cls(**_fields(key, labels))


class NewKey(KeyReply):
    """A key that has just been made."""

    key: str = Field(description="The key itself; it is shown this once.")

    @classmethod
    def with_secret(cls, key: Key, secret: str, labels: Mapping[str, str]) -> NewKey:
        """Show a new key."""
        return cls(**_fields(key, labels), key=secret)


def _fields(key: Key, labels: Mapping[str, str]) -> dict[str, Any]:
    grants = key.grants
    blocks = grants.blocks.items() if grants is not None else ()
    return {
        "blocks": [ShownBlockGrant(id=each, label=labels.get(each), access=access) for each, access in blocks]
        if grants is not None
        else None,
        "agents": sorted(grants.agents) if grants is not None else None,
        "archives": [
            ShownArchiveGrant(id=each, name=labels.get(each), access=access) for each, access in grants.archives.items()
        ]
        if grants is not None
        else None,
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "organization_id": key.organization_id,
        "created_at": moment(key.created_at),
        "created_by": key.created_by,
        "expires_at": _maybe(key.expires_at),
        "revoked_at": _maybe(key.revoked_at),
        "last_used_at": _maybe(key.last_used_at),
    }


def _maybe(at: int | None) -> datetime | None:
    return moment(at) if at is not None else None


def _origin(address: str) -> str:
    origin = origin_of(address)
    if origin is None:
        raise ValueError(f"{address!r} is no page's address; write scheme and host such as https://app.example.org")
    return origin


class AgentPolicy(Request):
    """What a scoped token may do with one agent."""

    type: Literal["agent"] = "agent"
    id: AgentId
    access: list[AgentAccess] = Field(min_length=1, max_length=MOST_ITEMS)


class CreateToken(Request):
    """A new scoped token."""

    hostname: Annotated[Text, AfterValidator(_origin)] = Field(description="The page that sends it, with http(s)://.")
    policy: list[AgentPolicy] = Field(min_length=1, max_length=MOST_AGENTS)
    expires_at: datetime | None = Field(None, description="When it ends; in five minutes if left out.")

    def to_policy(self) -> Policy:
        """Return what the token reaches; an agent that is named twice has both accesses."""
        agents: dict[str, frozenset[AgentAccess]] = {}
        for each in self.policy:
            agents[each.id] = agents.get(each.id, frozenset()) | frozenset(each.access)
        return Policy(agents, self.hostname)


class ShownAgentPolicy(Reply):
    """What a scoped token may do with one agent."""

    type: Literal["agent"] = "agent"
    id: str
    access: Sequence[AgentAccess]


class ShownPolicy(Reply):
    """What a scoped token may do."""

    version: Literal["1"] = "1"
    data: list[ShownAgentPolicy]


class TokenReply(Reply):
    """A scoped token: when it is made the token itself, later its identifier, which deletes it as well."""

    token: str
    expiresAt: datetime  # noqa: N815 - the clients' own name
    hostname: str
    policy: ShownPolicy

    @classmethod
    def of(cls, key: Key, secret: str | None = None) -> TokenReply:
        """Show a token."""
        assert key.policy is not None
        assert key.expires_at is not None
        agents = key.policy.agents.items()
        return cls(
            token=secret or key.id,
            expiresAt=moment(key.expires_at),
            hostname=key.policy.origin,
            policy=ShownPolicy(data=[ShownAgentPolicy(id=each, access=sorted(access)) for each, access in agents]),
        )


class TokensReply(Reply):
    """A page of tokens."""

    tokens: list[TokenReply]
    hasNextPage: bool  # noqa: N815 - the clients' own name


class CreateOrganization(Request):
    """A new organisation."""

    name: Name


class OrganizationReply(Reply):
    """An organisation."""

    id: str
    name: str
    created_at: datetime | None = Field(description="Null for the one that every server has.")

    @classmethod
    def of(cls, organization: Organization) -> OrganizationReply:
        """Show an organisation."""
        return cls(id=organization.id, name=organization.name, created_at=_maybe(organization.created_at))


class DeletedOrganization(OrganizationReply):
    """An organisation that was deleted."""

    deleted_rows: dict[str, int] = Field(description="How many rows went, by table.")


class AdministeredOrganization(OrganizationReply):
    """An organisation as older programs read it."""

    privileged_tools: bool = Field(False, description="Always false: the server's settings say what tools may do.")


class AdministeredUser(Reply):
    """The one user of an organisation, or one who came from another server."""

    id: str
    organization_id: str
    name: str
    created_at: datetime | None
    updated_at: datetime | None
    is_deleted: bool = False

    @classmethod
    def of(cls, organization: Organization) -> AdministeredUser:
        """Show an organisation's user, who has the organisation's name."""
        made = _maybe(organization.created_at)
        return cls(
            id=user_of(organization.id),
            organization_id=organization.id,
            name=organization.name,
            created_at=made,
            updated_at=made,
        )

    @classmethod
    def of_user(cls, user: Key) -> AdministeredUser:
        """Show a user who came from another server."""
        made = moment(user.created_at)
        return cls(id=user.id, organization_id=user.organization_id, name=user.name, created_at=made, updated_at=made)
