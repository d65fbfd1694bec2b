"""The packages that a tool's source asks for: how they are written, and how far their installation is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from folkmoot.sandbox.environments import Environments, State
from folkmoot.sandbox.requirements import Kind, read_requirements

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


def begin_to_install(environments: Environments | None, packages: Sequence[str]) -> None:
    """Have packages installed in the background, unless they are there; nothing where there are none to install."""
    if environments is not None and packages:
        environments.make("pip", packages)


def state_of(environments: Environments | None, packages: Sequence[str]) -> State | None:
    """Return how far the installation of packages is; None where there is nothing to install."""
    return environments.state("pip", packages) if environments is not None and packages else None
