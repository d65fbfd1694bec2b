"""Jobs: work that goes on behind requests, and how far it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from folkmoot.jobs.jobs import JobFilter, find_job, list_jobs
from folkmoot.jobs.kinds import cancel_job, delete_job
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import JobId, json_response, page_of
from folkmoot.server.wire.jobs import JobReply
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]
FewNewestFirst = Annotated[Page, Depends(page_of("desc", 50))]


def _ordered(page: Page, ascending: bool | None) -> Page:
    if ascending is None:
        return page
    return Page(page.limit, page.after, page.before, "asc" if ascending else "desc")


@router.get("", response_model=list[JobReply])
async def list_all(
    page: NewestFirst,
    scan: Scan,
    source_id: str | None = None,
    active: bool = False,
    ascending: bool | None = None,
) -> Response:
    """List jobs, the newest first."""
    wanted = JobFilter(parent_id=source_id, unfinished=active)
    return await scan(
        lambda transaction: list_jobs(transaction, wanted, _ordered(page, ascending)),
        lambda found: json_response([JobReply.of(job) for job in found]),
    )


@router.get("/active", response_model=list[JobReply])
async def list_active(
    page: FewNewestFirst, scan: Scan, source_id: str | None = None, ascending: bool | None = None
) -> Response:
    """List the jobs that are being worked on, and those that wait."""
    wanted = JobFilter(parent_id=source_id, unfinished=True)
    return await scan(
        lambda transaction: list_jobs(transaction, wanted, _ordered(page, ascending)),
        lambda found: json_response([JobReply.of(job) for job in found]),
    )


@router.get("/{job_id}", response_model=JobReply)
async def retrieve(job_id: JobId, state: State) -> Response:
    """Return a job: how far it is, or what became of it."""
    return json_response(JobReply.of(await state.store.read(lambda transaction: find_job(transaction, job_id))))


@router.delete("/{job_id}", response_model=JobReply)
async def delete(job_id: JobId, state: State) -> Response:
    """Delete a job and return it as it was; one that is not over is cancelled first."""
    kinds = state.services.job_kinds
    return json_response(
        JobReply.of(await state.store.write(lambda transaction: delete_job(transaction, kinds, job_id)))
    )


@router.patch("/{job_id}/cancel", response_model=JobReply)
async def cancel(job_id: JobId, state: State) -> Response:
    """Cancel a job; what it has done so far stays where its kind says so. One that is over stays as it is."""
    kinds = state.services.job_kinds
    return json_response(
        JobReply.of(await state.store.write(lambda transaction: cancel_job(transaction, kinds, job_id)))
    )
