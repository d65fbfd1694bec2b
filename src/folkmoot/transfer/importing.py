"""Agents out of a file, with all that belongs to them: all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.services import Services
from folkmoot.errors import BadRequest, FolkmootError, InvalidInput, NotFound
from folkmoot.groups.groups import GroupPlan
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction
from folkmoot.transfer.agent_file import MOST_MESSAGES, AgentFile, message_count


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How a file is taken in."""

    name: str | None = None
    """Name of the file's first agent."""

    copy_suffix: bool = True
    """Whether `_copy` is put behind the names of agents that are given none."""

    override_existing_tools: bool | None = None
    """Whether a tool that is here under the same name becomes the file's; when None, only if no agent here has it."""

    open_hosts: bool = False
    """Whether the file's tools may reach the hosts that it names for them."""

    strip_messages: bool = False
    """Whether nothing that was said is taken."""

    leave_out: bool = False
    """Whether what cannot be taken is left out, instead of refusing the file."""

    project_id: str | None = None
    model: str | None = None
    embedding: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plans:
    """What a file's entries ask for, read and within bounds, each by its identifier in the file."""

    agents: Mapping[str, AgentPlan]
    blocks: Mapping[str, Mapping[str, Any]]
    tools: Mapping[str, Mapping[str, Any]]
    conversations: Mapping[str, Mapping[str, Any]]
    """The settings of conversations that have some of their own."""

    archives: Mapping[str, Mapping[str, Any]]
    """Of each its fields, with its `passages`."""

    identities: Mapping[str, Mapping[str, Any]]
    """Of each its `fields` and its `properties`."""

    groups: Mapping[str, GroupPlan]
    """Whose agents and blocks go by their identifiers in the file."""


@dataclass(slots=True)
class Loading:
    """A file that is being taken in."""

    file: AgentFile
    plans: Plans
    options: ImportOptions
    services: Services
    author: Author
    models: dict[str, str] = field(default_factory=dict)
    """Handles of the agents' models, by agent."""

    refused: list[str] = field(default_factory=list)
    """What cannot be taken though it is wanted, and why."""

    left_out: list[str] = field(default_factory=list)
    """What has no place here, and why."""

    changed: list[str] = field(default_factory=list)
    """What was here before and is another one now."""

    made: dict[str, str] = field(default_factory=dict)
    """What things of the file are called here."""

    prepared: dict[str, Any] = field(default_factory=dict)
    """What kinds made of the file before the transaction, for it."""

    def of_agent(self, entry: Mapping[str, Any], field_: str) -> list[str]:
        """Return what the things that an agent names are called here, those that were left out not among them."""
        return [self.made[each] for each in entry.get(field_) or () if each in self.made]

    def tell(self, line: str) -> None:
        """Say once what has no place here; a transaction may run again."""
        if line not in self.left_out:
            self.left_out.append(line)


class ImportedKind(Protocol):
    """Things of one kind, as they come out of a file."""

    def prepare(self, loading: Loading) -> None:
        """Make ready what takes a while, on a thread, and say what cannot be taken."""

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make the things."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The agents that were made, what was left out, and what was here and is another one now, a line for each."""

    agent_ids: Sequence[str]
    left_out: Sequence[str]
    changed: Sequence[str]


async def import_agents(loading: Loading, before: Sequence[ImportedKind], after: Sequence[ImportedKind]) -> Imported:
    """Make a file's agents with all that belongs to them, in one transaction.

    Args:
        loading: the file and how it is wanted.
        before: kinds that agents are made with.
        after: kinds that are made for agents.

    Raises:
        BadRequest: something in the file cannot be taken; each such thing is told.
        NotFound: the model that was asked for is not known.
    """
    count = message_count(loading.file)
    if count > MOST_MESSAGES and not loading.options.strip_messages:
        raise BadRequest(
            f"file: has {count:,} messages, and {MOST_MESSAGES:,} are taken at once; send strip_messages=true, or move "
            "the database (`folkmoot import`)."
        )
    await _choose_models(loading)
    for kind in (*before, *after):
        await asyncio.to_thread(kind.prepare, loading)
    if loading.refused and not loading.options.leave_out:
        raise BadRequest(
            "file: cannot be taken as it is, and nothing was: "
            + " ".join(loading.refused)
            + " Send leave_out=true to go on without.",
            refused=list(loading.refused),
        )

    async def write(transaction: Transaction) -> list[str]:
        loading.made.clear()
        loading.changed.clear()
        for kind in before:
            await kind.load(loading, transaction)
        agent_ids = [await _make_agent(loading, transaction, entry) for entry in loading.file.section("agents")]
        for kind in after:
            await kind.load(loading, transaction)
        return agent_ids

    try:
        agent_ids = await loading.services.store.write(write)
    except (InvalidInput, NotFound) as error:
        raise BadRequest(f"file: {error.message} Nothing was taken.") from error
    return Imported(agent_ids, [*loading.left_out, *loading.refused], loading.changed)


async def _choose_models(loading: Loading) -> None:
    """Find a model for each agent: the one that was asked for, else the file's, by the names that it gives it.

    Raises:
        NotFound: the one that was asked for is not known.
    """
    catalogue, asked = loading.services.catalogue, loading.options.model
    if asked is not None:
        handle = catalogue.handle_of(asked)
        loading.models = dict.fromkeys(loading.plans.agents, handle)
        return
    for entry in loading.file.section("agents"):
        plan = loading.plans.agents[entry["id"]]
        for name in catalogue.names_of(plan.model, _plain_handle(entry)):
            try:
                loading.models[entry["id"]] = catalogue.handle_of(name)
            except FolkmootError:
                continue
            if name != plan.model:
                loading.left_out.append(f"agent {plan.name!r}: its model {plan.model!r} is {name!r} here.")
            break
        else:
            loading.models[entry["id"]] = str(plan.model)
            loading.left_out.append(
                f"agent {plan.name!r}: no provider of its model {plan.model!r} is configured, so that it cannot answer "
                "until it has another one; name it with `model`."
            )


def _plain_handle(entry: Mapping[str, Any]) -> str | None:
    """Return a model by the API that serves it, whatever its provider was called on the server it comes from."""
    config = entry.get("llm_config")
    if not isinstance(config, dict) or not isinstance(config.get("model"), str):
        return None
    return f"{config.get('model_endpoint_type')}/{config['model']}"


async def _make_agent(loading: Loading, transaction: Transaction, entry: Mapping[str, Any]) -> str:
    plan, options = loading.plans.agents[entry["id"]], loading.options
    first = entry is loading.file.section("agents")[0]
    name = options.name if first and options.name else f"{plan.name}_copy" if options.copy_suffix else plan.name
    plan = replace(
        plan,
        name=name,
        embedding=options.embedding or plan.embedding,
        project_id=options.project_id or plan.project_id,
        variables={**(plan.variables or {}), **options.variables} or None,
        block_ids=loading.of_agent(entry, "block_ids"),
        tool_ids=loading.of_agent(entry, "tool_ids"),
        base_tools=False,
    )
    model = loading.models[entry["id"]]
    agent = await create_agent(transaction, plan, model, loading.services, loading.author)
    loading.made[entry["id"]] = agent.id
    return agent.id
