"""Tools that programs name when they make an agent and that cannot work on this server yet: a call says so."""

from __future__ import annotations

from typing import Annotated, NoReturn, Required, TypedDict

from folkmoot.errors import ToolFailed
from folkmoot.tools.tool import ToolContext


class FileRequest(TypedDict, total=False):
    """A file, or a part of it."""

    file_name: Required[Annotated[str, "The file's name."]]
    offset: Annotated[int, "How many lines to pass over at its beginning."]
    length: Annotated[int, "How many lines to show; all that follow when left out."]


async def open_files(
    context: ToolContext, file_requests: list[FileRequest], close_all_others: bool | None = None
) -> str:
    """Open files of your folders, so that you see their text.

    Args:
        file_requests: The files to open, each by its name, from line offset on, length lines of it.
        close_all_others: Whether to close every other file.
    """
    _not_configured("open_files", "folders of files", "ask for the text itself")


async def grep_files(
    context: ToolContext,
    pattern: str,
    include: str | None = None,
    context_lines: int | None = None,
    offset: int | None = None,
) -> str:
    """Find lines of your files by a regular expression.

    Args:
        pattern: The regular expression.
        include: Only files whose names match this pattern, such as *.md.
        context_lines: Lines to show before and after each one found.
        offset: How many findings to pass over, to see the next ones.
    """
    _not_configured("grep_files", "folders of files", "ask for the text itself")


async def semantic_search_files(context: ToolContext, query: str, limit: int | None = None) -> str:
    """Find passages of your files by what they mean.

    Args:
        query: What to look for.
        limit: How many passages to return.
    """
    _not_configured("semantic_search_files", "folders of files", "ask for the text itself")


def _not_configured(tool: str, missing: str, instead: str) -> NoReturn:
    raise ToolFailed(
        f"{tool} is not configured: this server has no {missing} yet. Nothing was done; {instead}. For whoever runs "
        "the server: this version cannot be given one (README, 'Not yet'); a newer one may, and until then PATCH "
        "/v1/agents/{agent_id}/tools/detach/{tool_id} takes the tool from the agent."
    )
