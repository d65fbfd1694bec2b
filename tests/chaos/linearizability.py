"""Is a recorded history of concurrent operations linearizable?

A history is linearizable when every operation can be given one moment between its call and its return so that, done
one after the other at those moments, the operations have the outcomes that were recorded (Herlihy and Wing, 1990).

The search is Wing and Gong's ("Testing and verifying concurrent objects", Journal of Parallel and Distributed
Computing 17, 1993) with the memoisation that Lowe added ("Testing for linearizability", Concurrency and Computation:
Practice and Experience 29(4), 2017): a set of operations that have been done, together with the state they led to, is
looked at once. The linked list of calls and returns is how both papers, and Porcupine after them, walk the history.

    linearize((1, ""), block_step, history)     the operations in a legal order, or None
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

S = TypeVar("S", bound=Hashable)

FOREVER = float("inf")


@dataclass(frozen=True)
class Operation:
    """One call. `outcome` None with `returned` FOREVER: nobody knows whether it was done."""

    client: str
    called: float
    returned: float
    action: Any
    outcome: Any = None

    @property
    def unknown(self) -> bool:
        """Whether its answer was never received."""
        return self.returned == FOREVER


Step: TypeAlias = Callable[[S, Operation], S | None]
"""Gives the state after an operation, or None when its outcome is impossible in this state.

An operation of unknown outcome must be possible in every state: one that was never done then counts as done last.
"""


# -- the search ----------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Event:
    """A call, or with `call` the return of that call; a link of the list of those not yet done."""

    number: int = -1
    call: _Event | None = None
    end: _Event | None = None
    before: _Event | None = None
    after: _Event | None = None


def linearize(initial: S, step: Step[S], operations: Sequence[Operation]) -> list[Operation] | None:
    """Return the operations in an order that explains their outcomes, or None when there is none."""
    return _Search(initial, step, operations).run()


class _Search(Generic[S]):
    def __init__(self, initial: S, step: Step[S], operations: Sequence[Operation]) -> None:
        self._step = step
        self._operations = operations
        self._state = initial
        self._done = 0
        self._seen: set[tuple[int, S]] = set()
        self._order: list[tuple[_Event, S]] = []
        self._head = _linked(operations)

    def run(self) -> list[Operation] | None:
        event = self._head.after
        while event is not None:
            if event.call is None:
                event = self._head.after if self._do(event) else event.after
            elif self._order:  # a return: its call must come earlier than all that was tried since
                event = self._undo()
            else:
                return None
        return [self._operations[done.number] for done, _ in self._order]

    def _do(self, call: _Event) -> bool:
        """Do the operation now, unless that is impossible or was tried before."""
        state = self._step(self._state, self._operations[call.number])
        done = self._done | 1 << call.number
        if state is None or (done, state) in self._seen:
            return False
        self._seen.add((done, state))
        self._order.append((call, self._state))
        self._state, self._done = state, done
        for link in (call, call.end):
            assert link is not None
            assert link.before is not None
            link.before.after = link.after
            if link.after is not None:
                link.after.before = link.before
        return True

    def _undo(self) -> _Event | None:
        """Take the last operation back and return what to try in its place."""
        call, self._state = self._order.pop()
        self._done &= ~(1 << call.number)
        for link in (call.end, call):
            assert link is not None
            assert link.before is not None
            link.before.after = link
            if link.after is not None:
                link.after.before = link
        return call.after


def _linked(operations: Sequence[Operation]) -> _Event:
    """Return the head of the list of events in the order of time; what happens at once may overlap."""
    timed: list[tuple[float, int, int, _Event]] = []
    for number, operation in enumerate(operations):
        call = _Event(number)
        call.end = _Event(number, call)
        timed.append((operation.called, 0, number, call))
        timed.append((operation.returned, 1, number, call.end))
    head = last = _Event()
    for *_, event in sorted(timed, key=lambda entry: entry[:3]):
        last.after, event.before = event, last
        last = event
    return head


# -- a block -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """Read the block. Outcome: (version, text)."""


@dataclass(frozen=True)
class Write:
    """Overwrite the text. Outcome: the new version."""

    text: str


@dataclass(frozen=True)
class CompareAndSet:
    """Overwrite the text of that version. Outcome: (True, the new version) or (False, the current version)."""

    expected: int
    text: str


@dataclass(frozen=True)
class AddLine:
    """Insert a line at the end. Outcome: the new version."""

    line: str


BlockState: TypeAlias = tuple[int, str]


def block_step(state: BlockState, operation: Operation) -> BlockState | None:
    """Say what a block does, written anew from the promise, not from the code."""
    version, text = state
    match operation.action:
        case Read():
            return state if operation.unknown or operation.outcome == state else None
        case Write(new):
            after = (version + 1, new)
        case CompareAndSet(expected, new):
            fits = expected == version
            if not operation.unknown and operation.outcome != (fits, version + fits):
                return None
            return (version + 1, new) if fits else state
        case AddLine(line):
            after = (version + 1, f"{text}\n{line}" if text else line)
        case other:
            raise TypeError(f"{other!r} is nothing that is done to a block")
    return after if operation.unknown or operation.outcome == after[0] else None
