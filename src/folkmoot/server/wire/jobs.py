"""Jobs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from folkmoot.identifiers import user_of
from folkmoot.jobs.jobs import Job, Progress
from folkmoot.server.wire.common import Reply, moment


class ProgressReply(Reply):
    """How far a job is; null is what is not counted, or not known yet."""

    stage: str | None
    bytes_done: int | None
    bytes_total: int | None
    items_done: int | None
    items_total: int | None

    @classmethod
    def of(cls, progress: Progress) -> ProgressReply:
        """Show a job's progress."""
        return cls(
            stage=progress.stage,
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            items_done=progress.items_done,
            items_total=progress.items_total,
        )


class JobFields(Reply):
    """What the API's clients know of every job."""

    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime
    status: str
    completed_at: datetime | None
    stop_reason: str | None
    background: bool = True
    agent_id: str | None = None
    callback_url: str | None = None
    callback_sent_at: datetime | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    ttft_ns: int | None = None
    total_duration_ns: int | None
    id: str

    @staticmethod
    def values(job: Job) -> dict[str, Any]:
        """Return these fields' values, without those of a callback."""
        user, ended = user_of(job.organization_id), job.completed_at
        return {
            "created_by_id": user,
            "last_updated_by_id": user,
            "created_at": moment(job.created_at),
            "updated_at": moment(job.updated_at),
            "status": job.status,
            "completed_at": None if ended is None else moment(ended),
            "stop_reason": {"failed": "error", "cancelled": "cancelled", "completed": "end_turn"}.get(job.status),
            "total_duration_ns": None if ended is None else (ended - (job.started_at or ended)) * 1000,
            "id": job.id,
        }


class JobReply(JobFields):
    """A job; the last fields are Folkmoot's own."""

    metadata: dict[str, Any] = Field(description="What it works on, for programs that know no more of a job.")
    job_type: str = "job"
    user_id: str
    kind: str
    subject_id: str = Field(description="What it works on.")
    source_id: str | None = Field(description="What that is part of.")
    progress: ProgressReply
    attempts: int
    error: str | None = Field(description="Why it failed, or failed last and is to be tried again.")

    @classmethod
    def of(cls, job: Job) -> JobReply:
        """Show a job."""
        return cls(
            **cls.values(job),
            metadata={"kind": job.kind, "subject_id": job.subject_id, "source_id": job.parent_id},
            user_id=user_of(job.organization_id),
            kind=job.kind,
            subject_id=job.subject_id,
            source_id=job.parent_id,
            progress=ProgressReply.of(job.progress),
            attempts=job.attempts,
            error=job.error,
        )
