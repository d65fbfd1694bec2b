"""Projects: names under which an organisation sorts its agents, blocks and identities."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, or_

DEFAULT_PROJECT = "project-00000000-0000-4000-8000-000000000000"
"""The project that every organisation has: of all that names none."""

NO_PROJECT = "default"
"""What stands in a template that names none, and in the agents and groups that are made from it."""


def is_in_project(column: Any, project_id: str) -> ColumnElement[bool]:
    """Return the condition that a row is of a project, by the column that names it; one of none is the default's."""
    condition: ColumnElement[bool] = column == project_id
    if project_id != DEFAULT_PROJECT:
        return condition
    return or_(condition, column.is_(None), column.in_(("", NO_PROJECT)))
