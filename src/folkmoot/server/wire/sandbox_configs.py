"""Settings of the calls of own tools on the wire, and their environment variables."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from folkmoot.identifiers import check_id, user_of
from folkmoot.server.wire.common import MOST_ITEMS, Reply, Request, Text, moment
from folkmoot.server.wire.tools import Requirements, VariableName, readable_hosts
from folkmoot.store.sealing import Sealer
from folkmoot.tools.custom.configuration import SandboxConfig, SandboxVariable

ConfigId = Annotated[str, AfterValidator(lambda value: check_id("sandbox", value))]
VariableId = Annotated[str, AfterValidator(lambda value: check_id("sandbox-env", value))]

LONGEST_VALUE = 100_000


AllowedHosts = Annotated[list[Text], Field(max_length=MOST_ITEMS), AfterValidator(readable_hosts)]


class LocalConfig(Request):
    """What holds for every call. Folder and virtual environment are the older servers' own and mean nothing here."""

    sandbox_dir: Text | None = None
    use_venv: bool = False
    venv_name: Text | None = "venv"
    pip_requirements: Requirements = []
    allowed_hosts: AllowedHosts = Field([], description="Hosts that every own tool may reach; `*` for all public ones.")
    timeout: int | None = None
    template: str | None = None
    """E2B's; what has it is refused."""


class WriteConfig(Request):
    """Settings to make or to change."""

    config: LocalConfig


class CreateVariable(Request):
    """An environment variable to make; one of the key is given the value."""

    key: VariableName
    value: Annotated[Text, Field(max_length=LONGEST_VALUE)]
    description: Text | None = None


class UpdateVariable(Request):
    """What to change of a variable."""

    key: VariableName | None = None
    value: Annotated[Text, Field(max_length=LONGEST_VALUE)] | None = None
    description: Text | None = None


class SandboxConfigReply(Reply):
    """The settings of an organisation's calls."""

    created_by_id: str | None
    last_updated_by_id: str | None
    created_at: datetime
    updated_at: datetime
    id: str
    type: Literal["local"] = "local"
    organization_id: str
    config: dict[str, Any]

    @classmethod
    def of(cls, settings: SandboxConfig, organization_id: str) -> SandboxConfigReply:
        """Show settings to their organisation."""
        user = user_of(organization_id)
        config = LocalConfig.model_validate(settings.config).model_dump(exclude={"timeout", "template"})
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=moment(settings.created_at),
            updated_at=moment(settings.updated_at),
            id=settings.id,
            organization_id=organization_id,
            config=config,
        )


class SandboxVariableReply(Reply):
    """An environment variable; readers are not shown its value."""

    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    id: str
    key: str
    value: str
    description: str | None
    organization_id: str
    value_enc: None = None
    sandbox_config_id: str

    @classmethod
    def of(cls, variable: SandboxVariable, organization_id: str, sealer: Sealer | None) -> SandboxVariableReply:
        """Show a variable; its value is left empty without a sealer."""
        return cls(
            created_at=moment(variable.created_at),
            id=variable.id,
            key=variable.name,
            value=variable.value(sealer) if sealer is not None else "",
            description=variable.description,
            organization_id=organization_id,
            sandbox_config_id=variable.config_id,
        )
