"""An agent's blocks as files on the wire: the block labelled `notes/tea` is the file `notes/tea.md`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from folkmoot.errors import NotFound
from folkmoot.memory.history import Version
from folkmoot.server.wire.common import Reply, moment

ENDING = ".md"
HEAD = "HEAD"
"""The name of a block's newest version."""


class Entry(Reply):
    """A file or a folder."""

    name: str
    type: Literal["file", "directory"]


class Directory(Reply):
    """What is in a folder."""

    path: str
    entries: list[Entry]
    depth: int


class Commit(Reply):
    """A version of a block."""

    sha: str
    message: str
    timestamp: str
    author_name: str | None

    @classmethod
    def of(cls, version: Version) -> Commit:
        """Show a version."""
        return cls(
            sha=str(version.number),
            message=str(version.edit.get("kind", "")),
            timestamp=moment(version.created_at).isoformat(),
            author_name=version.author.name,
        )


class FileHistory(Reply):
    """The versions of a block, the newest first."""

    path: str
    commits: list[Commit]


class FileContent(Reply):
    """A block's text in one version."""

    path: str
    content: str
    ref: str


def entries_below(labels: Iterable[str], folder: str, depth: int) -> list[Entry]:
    """Return what is in a folder of the files that blocks are, folders first, each by its path below that one.

    Args:
        labels: the blocks'.
        folder: its path; empty for the one at the top.
        depth: how many folders deep to look.

    Raises:
        NotFound: there is no such folder.

    >>> [each.name for each in entries_below(["notes/tea", "notes/deep/x", "human"], "", 1)]
    ['notes', 'human.md']
    """
    above = [part for part in folder.split("/") if part]
    found: dict[str, Entry] = {}
    for label in labels:
        parts = label.split("/")
        if parts[: len(above)] != above or len(parts) <= len(above):
            continue
        below = parts[len(above) :]
        for end in range(1, min(len(below), depth + 1)):
            name = "/".join(below[:end])
            found[name] = Entry(name=name, type="directory")
        if len(below) <= depth:
            name = "/".join(below) + ENDING
            found[name] = Entry(name=name, type="file")
    if above and not found:
        raise NotFound(f"path: there is no folder {folder!r} among the agent's blocks.")
    return sorted(found.values(), key=lambda entry: (entry.type == "file", entry.name))


def label_of(path: str) -> str:
    """Return the label of the block that a path means.

    >>> label_of("/notes/tea.md"), label_of("human")
    ('notes/tea', 'human')
    """
    return path.strip("/").removesuffix(ENDING)
