"""Standing approvals on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from folkmoot.agents.standing_approvals import StandingApproval
from folkmoot.identifiers import check_id
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text, moment

ApprovalId = Annotated[str, AfterValidator(lambda value: check_id("approval", value))]


class GiveApproval(Request):
    """Which calls are approved beforehand."""

    tool_name: Annotated[Text, Field(min_length=1, max_length=200)]
    arguments: JsonObject = Field(description="Arguments that such a call has, as they are.")
    exact: bool = Field(False, description="Whether such a call has no other arguments.")


class ApprovalReply(Reply):
    """A standing approval."""

    id: str
    tool_name: str
    arguments: dict[str, Any]
    exact: bool
    given_by: str = Field(description="The name of who gave it.")
    created_at: datetime

    @classmethod
    def of(cls, approval: StandingApproval) -> ApprovalReply:
        """Show a standing approval."""
        return cls(
            id=approval.id,
            tool_name=approval.tool_name,
            arguments=dict(approval.arguments),
            exact=approval.exact,
            given_by=approval.given_by,
            created_at=moment(approval.created_at),
        )
