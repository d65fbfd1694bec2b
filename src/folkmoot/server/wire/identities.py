"""Identities on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, model_validator

from folkmoot.agents.identities import Holdings, Identity, IdentityType
from folkmoot.identifiers import check_id
from folkmoot.server.wire.common import MOST_ITEMS, AgentId, BlockId, JsonObject, Reply, Request, Text

MOST_PROPERTIES = 100
"""Properties of an identity."""

IdentityId = Annotated[str, AfterValidator(lambda value: check_id("identity", value))]
Name = Annotated[Text, Field(min_length=1, max_length=500)]
_TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "boolean": (bool,), "json": (dict,)}


class Property(Request):
    """Something that is known of an identity."""

    key: Name
    value: StrictBool | StrictInt | StrictFloat | Annotated[Text, Field(max_length=10_000)] | JsonObject
    type: Literal["string", "number", "boolean", "json"]

    @model_validator(mode="after")
    def _of_its_type(self) -> Property:
        fits = isinstance(self.value, _TYPES[self.type]) and isinstance(self.value, bool) == (self.type == "boolean")
        if not fits:
            raise ValueError(f"the value of {self.key!r} is not of the type {self.type}; name the type that it has")
        return self


Properties = Annotated[list[Property], Field(max_length=MOST_PROPERTIES)]


class UpdateIdentity(Request):
    """Changes to an identity; what is left out stays as it is."""

    identifier_key: Name | None = None
    name: Name | None = None
    identity_type: IdentityType | None = None
    agent_ids: list[AgentId] | None = Field(None, max_length=MOST_ITEMS)
    block_ids: list[BlockId] | None = Field(None, max_length=MOST_ITEMS)
    properties: Properties | None = Field(None, description="Those of other keys stay.")

    def fields(self) -> dict[str, Any]:
        """Return what is changed of the identity itself."""
        return self.model_dump(include={"identifier_key", "name", "identity_type"}, exclude_none=True)

    def known(self) -> list[dict[str, Any]] | None:
        """Return the properties, None when none are named."""
        return None if self.properties is None else [each.model_dump() for each in self.properties]

    def holdings(self) -> Holdings:
        """Return what shall belong to it."""
        return Holdings(self.agent_ids, self.block_ids)


class CreateIdentity(UpdateIdentity):
    """A new identity."""

    identifier_key: Name = Field(description="What your program calls it; unique in a project.")
    name: Name
    identity_type: IdentityType
    project_id: Annotated[Text, Field(max_length=500)] | None = None

    def fields(self) -> dict[str, Any]:
        """Return the identity itself."""
        return {**super().fields(), "project_id": self.project_id}


class PropertyReply(Reply):
    """Something that is known of an identity."""

    key: str
    value: Any
    type: str


class IdentityReply(Reply):
    """An identity. Its agents and blocks have routes of their own; the lists here stay empty, as clients know them."""

    id: str
    identifier_key: str
    name: str
    identity_type: IdentityType
    project_id: str | None
    agent_ids: list[str] = []
    block_ids: list[str] = []
    organization_id: str
    properties: list[PropertyReply]

    @classmethod
    def of(cls, identity: Identity) -> IdentityReply:
        """Show an identity."""
        return cls(
            id=identity.id,
            identifier_key=identity.identifier_key,
            name=identity.name,
            identity_type=identity.identity_type,
            project_id=identity.project_id,
            organization_id=identity.organization_id,
            properties=[PropertyReply(**each) for each in identity.properties],
        )
