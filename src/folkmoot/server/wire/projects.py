"""Projects on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from folkmoot.access.projects import Project
from folkmoot.identifiers import check_id
from folkmoot.server.wire.common import Reply, Request, Text

ProjectId = Annotated[str, AfterValidator(lambda value: check_id("project", value))]


class CreateProject(Request):
    """A project that is to be made."""

    name: Annotated[Text, Field(min_length=3, max_length=50)]


class ProjectReply(Reply):
    """A project."""

    id: str
    name: str
    slug: str

    @classmethod
    def of(cls, project: Project) -> ProjectReply:
        """Show a project."""
        return cls(id=project.id, name=project.name, slug=project.slug)


class ProjectList(Reply):
    """Some of an organisation's projects."""

    projects: list[ProjectReply]
    hasNextPage: bool = Field(description="Whether there are more.")  # noqa: N815


class ProjectDeleted(Reply):
    """That a project was deleted."""

    success: bool = True
