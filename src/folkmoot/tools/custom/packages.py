"""The packages that a tool's source asks for: how they are written, and how far their installation is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox.calls import Language
from folkmoot.sandbox.environments import Environments, State
from folkmoot.sandbox.node import packages_needed
from folkmoot.sandbox.requirements import Kind, read_requirements
from folkmoot.tools.stored import StoredTool

_COMPARED = ("=", "<", ">", "!", "~")


def packages_of(kind: Kind, *requirements: Sequence[Mapping[str, Any]] | None) -> tuple[str, ...]:
    """Return packages as the sandbox reads them.

    >>> packages_of("pip", [{"name": "six", "version": "1.17"}, {"name": "idna", "version": ">=3"}])
    ('idna>=3', 'six==1.17')

    Raises:
        InvalidInput: one cannot be read.
    """
    return read_requirements(kind, [_written(kind, each) for given in requirements for each in given or ()])


def _written(kind: Kind, requirement: Mapping[str, Any]) -> str:
    name, version = str(requirement["name"]).strip(), str(requirement.get("version") or "").strip()
    if not version:
        return name
    if kind == "npm":
        return f"{name}@{version}"
    return f"{name}{version}" if version.startswith(_COMPARED) else f"{name}=={version}"


@dataclass(frozen=True, slots=True)
class Packages:
    """What the source of a tool needs."""

    language: Language = "python"
    requirements: tuple[str, ...] = ()


def packages_of_tool(stored: StoredTool, *shared: Mapping[str, Any]) -> Packages:
    """Return what a stored tool needs: pip's packages for Python, npm's for TypeScript.

    Args:
        stored: the tool.
        shared: pip's packages that all tools have beside it.

    Raises:
        InvalidInput: one cannot be read.
    """
    if stored.source_type == "typescript":
        return Packages("typescript", packages_of("npm", stored.npm_requirements))
    return Packages("python", packages_of("pip", shared, stored.pip_requirements))


async def begin_to_install(environments: Environments | None, packages: Packages) -> None:
    """Have packages installed in the background, unless they are there; nothing where there are none to install."""
    if environments is None:
        return
    with suppress(SandboxUnavailable):  # what is missing is told where the tool is shown
        kind, requirements = await asyncio.to_thread(packages_needed, packages.language, packages.requirements)
        if requirements:
            environments.make(kind, requirements)


async def state_of(environments: Environments | None, packages: Packages) -> State | None:
    """Return how far the installation of packages is; None where there is nothing to install."""
    if environments is None:
        return None
    try:
        kind, requirements = await asyncio.to_thread(packages_needed, packages.language, packages.requirements)
    except SandboxUnavailable as error:
        return State("failed", error.message)
    return environments.state(kind, requirements) if requirements else None
