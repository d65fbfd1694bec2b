"""The errors of PostgreSQL and its driver, in Folkmoot's terms."""

from __future__ import annotations

from typing import Any

import asyncpg

from folkmoot.errors import InvalidInput, StoreFull, StoreOverloaded, StoreUnavailable
from folkmoot.store.postgres_connections import in_one_line
from folkmoot.store.postgres_pool import Loan

PASSING = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two transactions were in each other's way: done again, it works."""

OVERTAKEN = asyncpg.IntegrityConstraintViolationError
"""What work has looked for was deleted, or made, by somebody else before it wrote: done again, it sees that."""

UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    asyncpg.InternalClientError,  # asyncpg lost track of a connection that was cut in the middle of a commit
)
"""The database cannot be asked, or cannot do anything just now."""

_OVERLOADED = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)


class InOurTerms:
    """A loan whose errors are told in Folkmoot's terms. A generator would cost as much as the loan."""

    __slots__ = ("_loan",)

    def __init__(self, loan: Loan) -> None:
        """Lend a connection as `loan` does."""
        self._loan = loan

    async def __aenter__(self) -> asyncpg.Connection[Any]:
        try:
            return await self._loan.__aenter__()
        except Exception as error:
            _raise_in_our_terms(error)
            raise

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._loan.__aexit__(kind, error, trace)
        if error is not None:
            _raise_in_our_terms(error)


def _raise_in_our_terms(error: BaseException) -> None:
    """Raise an error of the driver as one of Folkmoot's; do nothing for any other, or one after which to try again."""
    if isinstance(error, (*PASSING, OVERTAKEN)):
        return
    if isinstance(error, asyncpg.TooManyConnectionsError):
        raise StoreUnavailable(
            f"PostgreSQL takes no more connections: {in_one_line(error)}. Let it take more, or set "
            "FOLKMOOT_DATABASE_CONNECTIONS to fewer."
        ) from error
    if isinstance(error, (*_OVERLOADED, TimeoutError)):
        raise StoreOverloaded from error
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        raise InvalidInput(f"A value in the request is too long to be stored: {in_one_line(error)}.") from error
    if isinstance(error, asyncpg.DataError):
        raise InvalidInput(f"A value in the request cannot be stored: {in_one_line(error)}.") from error
    if isinstance(error, asyncpg.DiskFullError):
        raise StoreFull(f"PostgreSQL cannot do this just now: {in_one_line(error)}.") from error
    if isinstance(error, UNAVAILABLE):
        raise StoreUnavailable(f"PostgreSQL cannot do this just now: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """Return why a connection cannot be used; of one that was cut, the driver complains of its own state last."""
    first = error.__context__ if isinstance(error.__context__, UNAVAILABLE) else error
    if isinstance(first, asyncpg.InternalClientError) and not isinstance(
        first, asyncpg.TargetServerAttributeNotMatched
    ):
        return "the connection was cut"
    return in_one_line(first)
