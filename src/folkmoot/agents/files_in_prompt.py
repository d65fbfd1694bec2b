"""An agent's folders and open files as a prompt shows them."""

from __future__ import annotations

from folkmoot.files.shown import MOST_NAMES, ShownFile, ShownFiles, ShownFolder
from folkmoot.models.frames import Frame, render_frames


def render_files(shown: ShownFiles) -> str:
    """Return the agent's folders and the text of its open files for a prompt; nothing for an agent without folders."""
    if not shown.folders:
        return ""
    frames = [*map(_folder, shown.folders), *map(_file, shown.files)]
    limits = shown.limits
    note = (
        f"{len(shown.files)} of at most {limits.most_open} files are open, with at most {limits.view_characters:,} "
        "characters of each. open_files opens others, or other lines; the one not used for the longest time closes."
    )
    return f"{render_frames('folders', frames)}\n<open_files>{note}</open_files>"


def _folder(folder: ShownFolder) -> Frame:
    said = {"description": folder.description, "instructions": folder.instructions}
    attributes = {"name": folder.name, "files": str(folder.files)} | {
        name: value for name, value in said.items() if value is not None
    }
    lines = [f"not open: {folder.name}/{name}" for name in folder.closed]
    if len(lines) == MOST_NAMES:
        lines.append("… and others, which grep_files and semantic_search_files find")
    return Frame("folder", attributes, "\n".join(lines))


def _file(shown: ShownFile) -> Frame:
    file = shown.held.file
    attributes = {"name": file.path, "version": str(file.version), "lines": str(file.lines), "read_only": "true"}
    return Frame("file", attributes, shown.text)
