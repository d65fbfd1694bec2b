"""When something scheduled is due: once, or by a cron expression in a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from folkmoot.errors import InvalidInput

LATE = 60_000_000
"""Microseconds that a time may have passed when it is scheduled; a request is a while on its way."""

FARTHEST = 100 * 365 * 86_400_000_000
"""Microseconds until the last time that can be scheduled."""

LONGEST_EXPRESSION = 200


@dataclass(frozen=True, slots=True)
class Timetable:
    """When something is due: `at` once, or by `cron` in `timezone`. Times are in microseconds since the epoch."""

    at: int | None = None
    cron: str | None = None
    timezone: str = "UTC"

    def check(self, now: int) -> None:
        """See whether it will ever be due.

        Raises:
            InvalidInput: its time has passed, or its expression or time zone cannot be used.
        """
        if self.at is not None:
            _check_time(self.at, now)
            return
        if len((self.cron or "").split()) != 5:
            raise InvalidInput(
                f"schedule.cron_expression: {self.cron!r} needs five fields: minute, hour, day of the month, month and "
                "day of the week, such as '0 9 * * MON-FRI'."
            )
        if self.after(now) is None:
            raise InvalidInput(f"schedule.cron_expression: {self.cron!r} is never due in the next 50 years.")

    def after(self, now: int) -> int | None:
        """Return the first time behind `now` at which it is due; None when there is none.

        Where clocks go forward, what is due in the hour that is left out is due behind it; where they go back, what is
        due in the hour that comes twice is due once, as with Debian's cron.

        Raises:
            InvalidInput: its expression or time zone cannot be used.
        """
        if self.cron is None:
            return self.at if self.at is not None and self.at > now else None
        from cronsim import CronSim, CronSimError

        try:
            zone = ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise InvalidInput(
                f"schedule.timezone: {self.timezone!r} is no time zone; it looks like 'Europe/Berlin'."
            ) from error
        try:
            due = next(CronSim(self.cron, datetime.fromtimestamp(now / 1e6, zone)), None)
        except CronSimError as error:
            raise InvalidInput(f"schedule.cron_expression: {self.cron!r}: {error}.") from error
        return None if due is None else int(due.astimezone(UTC).timestamp()) * 1_000_000


def _check_time(at: int, now: int) -> None:
    if at < now - LATE:
        told = datetime.fromtimestamp(max(at, 0) / 1e6, UTC)
        raise InvalidInput(
            f"schedule.scheduled_at: {told:%Y-%m-%d %H:%M} UTC has passed; name a time to come, in milliseconds since "
            "1970."
        )
    if at > now + FARTHEST:
        raise InvalidInput("schedule.scheduled_at: more than 100 years ahead; it is in milliseconds since 1970.")
