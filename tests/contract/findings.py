"""What differs when recorded calls are made again, and whether each difference is meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from comparing import differences, shape_differences
from expectations import ANYTHING, Allowed
from recordings import Ids, Recording

from support.openapi import schema_of, violations


@dataclass(frozen=True)
class Finding:
    """A call's difference from what is recorded."""

    call: str
    difference: str


def differences_of(
    wanted: Recording,
    status: int,
    body: Any,
    ids: Ids,
    *,
    shape_only: bool = False,
    count: bool = False,
    has_schema: bool = True,
) -> Iterator[str]:
    """Yield how an answer differs from the wanted one, and from what the contract says of its shape.

    Args:
        wanted: the call, with the answer that it should get.
        status: that of the answer.
        body: that of the answer.
        ids: which identifiers stand for the recorded ones.
        shape_only: compare keys and types, since the things in it are other ones.
        count: it is a number of things of which others may have made some.
        has_schema: whether the contract tells the answer's shape.
    """
    if status != wanted.status:
        yield f"status {status} instead of {wanted.status}: {str(body)[:300]}"
        return
    if wanted.response is ANYTHING:
        pass
    elif count:
        if not isinstance(body, int) or body < 1:
            yield f"{body!r} is no count"
    elif shape_only:
        yield from shape_differences(wanted.response, body)
    else:
        yield from differences(wanted.response, body, ids)
    if status == 200 and has_schema:
        found = violations(schema_of(wanted.method, wanted.path), body)
        yield from (f"openapi: {violation}" for violation in found)


def judge(findings: Sequence[Finding], allowed: Sequence[Allowed]) -> None:
    """Fail for every difference that is not meant, and for every meant one that is not there."""
    unmeant = [
        finding for finding in findings if not any(each.covers(finding.call, finding.difference) for each in allowed)
    ]
    assert not unmeant, _report(unmeant)
    stale = [each for each in allowed if not any(each.covers(finding.call, finding.difference) for finding in findings)]
    assert not stale, "these differences are gone; take them out of the table:\n" + "\n".join(map(str, stale))


def _report(findings: Iterable[Finding]) -> str:
    """Return each difference once, with the calls that show it."""
    calls: defaultdict[str, list[str]] = defaultdict(list)
    for finding in findings:
        calls[finding.difference].append(finding.call)
    lines = (f"{difference}  ({', '.join(dict.fromkeys(names))})" for difference, names in calls.items())
    return f"{len(calls)} differences:\n" + "\n".join(lines)
