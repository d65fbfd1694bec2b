"""What is said to agents at times to come, on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from folkmoot.identifiers import check_id
from folkmoot.schedules.schedules import Schedule
from folkmoot.schedules.times import LONGEST_EXPRESSION, Timetable
from folkmoot.server.wire.common import Reply, Request, Text, moment
from folkmoot.server.wire.sending import MOST_MESSAGES, MessageCreate, SendMessages, TypesOfMessages

ScheduleId = Annotated[str, AfterValidator(lambda value: check_id("schedule", value, "scheduled_message_id"))]


class Once(Request):
    """One time."""

    type: Literal["one-time"] = "one-time"
    scheduled_at: float = Field(ge=0, le=1e16, allow_inf_nan=False, description="Milliseconds since 1970, in UTC.")

    def timetable(self, timezone: str) -> Timetable:
        """Return when that is."""
        return Timetable(at=int(self.scheduled_at * 1000), timezone=timezone)


class Recurring(Request):
    """Times that a cron expression gives."""

    type: Literal["recurring"]
    cron_expression: Annotated[Text, Field(max_length=LONGEST_EXPRESSION)] = Field(
        description="Minute, hour, day of the month, month and day of the week, as cron reads them."
    )
    timezone: Annotated[Text, Field(max_length=100)] | None = Field(
        None, description="In which it is read, such as Europe/Berlin; the agent's when left out."
    )

    def timetable(self, timezone: str) -> Timetable:
        """Return when those are."""
        return Timetable(cron=self.cron_expression, timezone=self.timezone or timezone)


_ABOUT = ("conversation_id", "name", "description")


def _kind(value: Any) -> str:
    kind = value.get("type", "one-time") if isinstance(value, dict) else getattr(value, "type", None)
    return str(kind)


class CreateSchedule(Request):
    """What is to be said to an agent, and when."""

    messages: list[MessageCreate] = Field(min_length=1, max_length=MOST_MESSAGES)
    schedule: Annotated[Annotated[Once, Tag("one-time")] | Annotated[Recurring, Tag("recurring")], Discriminator(_kind)]
    max_steps: int | None = Field(None, ge=1, le=1000, description="Most model calls in each turn.")
    callback_url: Text | None = Field(None, description="Where to tell when a turn is over.")
    include_return_message_types: TypesOfMessages | None = None
    conversation_id: Text | None = Field(
        None, description="In which of the agent's conversations; the main one if none."
    )
    name: Annotated[Text, Field(max_length=500)] | None = None
    description: Annotated[Text, Field(max_length=5000)] | None = None

    def to_turn(self) -> SendMessages:
        """Return the request of each turn."""
        return SendMessages(
            messages=list(self.messages),
            max_steps=self.max_steps,
            callback_url=self.callback_url,
            include_return_message_types=self.include_return_message_types,
            background=True,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was asked for, as it is shown again."""
        about = {name: getattr(self, name) for name in _ABOUT}
        said = self.model_dump(mode="json", exclude={"schedule", *_ABOUT}, exclude_none=True)
        return {**about, "message": said}


class ScheduleCreated(Reply):
    """What was scheduled."""

    id: str
    next_scheduled_at: str = Field(description="When it is due next, in UTC.")


class ScheduleReply(Reply):
    """Something that is said to an agent at times to come."""

    id: str
    agent_id: str
    message: dict[str, Any] = Field(description="What is said, and how: `messages`, `max_steps` and so on.")
    schedule: dict[str, Any] = Field(description="When: `scheduled_at`, or `cron_expression` and `timezone`.")
    next_scheduled_time: str | None
    last_run_id: str | None = Field(description="The run that it started last.")
    conversation_id: str | None = Field(description="In which conversation; null for the agent's main one.")
    name: str | None
    description: str | None
    created_at: str

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleReply:
        """Show a schedule."""
        table = schedule.timetable
        when: dict[str, Any] = {"type": "recurring", "cron_expression": table.cron, "timezone": table.timezone}
        if table.cron is None:
            when = {"type": "one-time", "scheduled_at": schedule.due_at // 1000}
        return cls(
            id=schedule.id,
            agent_id=schedule.agent_id,
            message=schedule.request["message"],
            schedule=when,
            next_scheduled_time=shown_time(schedule.due_at),
            last_run_id=schedule.last_run_id,
            **{name: schedule.request[name] for name in _ABOUT},
            created_at=shown_time(schedule.created_at),
        )


class ScheduleList(Reply):
    """A page of an agent's schedules."""

    scheduled_messages: list[ScheduleReply]
    has_next_page: bool


class ScheduleDeleted(Reply):
    """That a schedule was deleted."""

    success: Literal[True] = True


def shown_time(microseconds: int) -> str:
    """Return a time as text, in UTC.

    >>> shown_time(0)
    '1970-01-01T00:00:00Z'
    """
    return moment(microseconds).isoformat().replace("+00:00", "Z")
