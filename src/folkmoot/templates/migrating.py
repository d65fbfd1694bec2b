"""The job that leads all agents of a template to a version, one deployment after the other."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from folkmoot.agents.services import Services
from folkmoot.errors import FolkmootError, StoreError
from folkmoot.jobs.jobs import Progress, add_job
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import deployments, templates
from folkmoot.templates.deployments import Deployment, Migration, migrate
from folkmoot.templates.templates import Template

logger = logging.getLogger(__name__)

MIGRATE = "migrate_template"
"""The name of this kind of job."""

_template = select(templates).where(templates.c.id == bindparam("of"))
_set_wanted = update(templates).where(templates.c.id == bindparam("of")).values(migration=bindparam("wanted"))
_behind = (
    deployments.c.template_id == bindparam("of"),
    deployments.c.attempted_version != bindparam("number"),
    deployments.c.created_at <= bindparam("before"),
)
_next = (
    select(deployments).where(*_behind).order_by(deployments.c.created_at, deployments.c.id).limit(1).with_for_update()
)
_count = count_of(deployments, *_behind)
_set_error = (
    update(deployments)
    .where(deployments.c.id == bindparam("failed"))
    .values(attempted_version=bindparam("number"), error=bindparam("why"))
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """To which version the agents are to be led that there were when it was asked for, how, and for whom."""

    version: int
    before: int
    author: str
    migration: Mapping[str, Any]

    @property
    def behind(self) -> dict[str, int]:
        """What tells the deployments that are not there yet."""
        return {"number": self.version, "before": self.before}


async def migrate_all(transaction: Transaction, template: Template, migration: Migration, author: Author) -> None:
    """Have all agents of a template led to its newest version, once this transaction has committed.

    One that is asked for while another one is under way takes its place.
    """
    wanted = _Wanted(template.latest_version, clock.now(), author.to_json(), asdict(migration))
    await transaction.run(_set_wanted, of=template.id, wanted=json.dumps(asdict(wanted)))
    await add_job(transaction, MIGRATE, template.id)


def migrate_kind(services: Services) -> JobKind:
    """Return what a process does for such jobs."""

    async def work(active: ActiveJob) -> None:
        await _Migrating(active, services).run()

    return JobKind(MIGRATE, work, at_once=1, yields=True)


class _Migrating:
    """One template's migration."""

    def __init__(self, active: ActiveJob, services: Services) -> None:
        self._active = active
        self._services = services
        self._template_id = active.job.subject_id
        self._done = 0
        self._tried: tuple[str, int] | None = None
        """The deployment that is being led, and to which version."""

    async def run(self) -> None:
        """Lead one deployment after the other, until none is behind."""
        while True:
            self._active.yield_if_asked()
            led = await self._lead()
            if led:
                self._done += 1
                await self._active.report(Progress("migrating", items_done=self._done))
            elif await self._active.complete(self._nothing_is_behind):
                return

    async def _lead(self) -> bool:
        """Lead the next deployment, or say of it why it cannot be led; False when none is behind.

        What fails is tried once more: something that it has may have been deleted at that moment.
        """
        for _ in range(2):
            try:
                return await self._active.commit(self._lead_next)
            except StoreError:
                raise
            except FolkmootError as error:
                why = error.message
        return await self._active.commit(lambda transaction: self._give_up_next(transaction, why))

    async def _lead_next(self, transaction: Transaction) -> bool:
        """Lead the first deployment that is behind; False when none is."""
        template, wanted = await self._look(transaction)
        row = None if wanted is None else await transaction.first(_next, of=self._template_id, **wanted.behind)
        if template is None or wanted is None or row is None:
            return False
        author, how = Author.from_json(wanted.author), Migration(**wanted.migration)
        deployment = Deployment.from_row(row)
        self._tried = (deployment.id, wanted.version)
        services = self._services.of(self._active.job.organization_id)
        await migrate(transaction, template, deployment, str(wanted.version), how, services, author)
        return True

    async def _give_up_next(self, transaction: Transaction, why: str) -> bool:
        """Say of that deployment why it could not be led, so that the others are."""
        _, wanted = await self._look(transaction)
        row = None if wanted is None else await transaction.first(_next, of=self._template_id, **wanted.behind)
        if wanted is None or row is None:
            return False
        if (row["id"], wanted.version) != self._tried:  # somebody led it meanwhile, or wants another version
            return True
        logger.warning("A deployment of a template was not migrated: %s", why, extra={"id": row["id"]})
        await transaction.run(_set_error, failed=row["id"], number=wanted.version, why=why)
        return True

    async def _nothing_is_behind(self, transaction: Transaction) -> bool:
        _, wanted = await self._look(transaction)
        if wanted is None:
            return True
        return not await count_rows(transaction, _count, of=self._template_id, **wanted.behind)

    async def _look(self, transaction: Transaction) -> tuple[Template | None, _Wanted | None]:
        row = await transaction.first(_template, of=self._template_id)
        if row is None or row["migration"] is None:  # it was deleted, and with it all there was to do
            return None, None
        return Template.from_row(row), _Wanted(**json.loads(row["migration"]))
