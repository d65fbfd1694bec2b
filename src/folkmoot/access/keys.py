"""Keys that organisations give out: kept as hashes, found by them, looked up anew in every request.

A scoped token is a key with a policy. A member, an agent or program that lives elsewhere, has a key with grants. A key
that was revoked keeps its row, so that its name stays known and a server that has once given out a key stays closed
without one; tokens that are over are forgotten. A user who came from another server has a row before it has a key: its
hash is empty, which no key's is, until `give_key` gives it one (`users.py`).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Select, bindparam, delete, or_, select, update

from folkmoot.access.principals import Grants, Kind, Policy, Principal, Role
from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import api_keys, sessions

PREFIX = "fm-"
"""What every key begins with, so that people and scanners know it."""

SHOWN = 9
"""Characters of a key that are kept, for people to tell keys apart."""

MOST_KEYS = 1000
MOST_TOKENS = 10_000
"""Keys, and scoped tokens, that an organisation may have at once."""

USE_NOTED_EVERY = 60_000_000
"""Microseconds within which a key's last use is written once at most."""

CHANGED = "keys"
"""The signal that a key was made or has ended, or a session has."""


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key. Times are in microseconds."""

    id: str
    organization_id: str
    name: str
    prefix: str
    role: Role
    policy: Policy | None
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    grants: Grants | None = None

    @classmethod
    def from_row(cls, row: Row) -> Key:
        """Read a row of the table."""
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            name=row["name"],
            prefix=row["prefix"],
            role=row["role"],
            policy=Policy.from_json(row["policy"]) if row["policy"] is not None else None,
            created_at=row["created_at"],
            created_by=row["created_by"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            last_used_at=row["last_used_at"],
            grants=Grants.from_json(row["grants"]) if row["grants"] is not None else None,
        )

    def principal(self) -> Principal:
        """Return who has the key."""
        kind: Kind = "key" if self.policy is None else "token"
        return Principal(self.name, kind, self.organization_id, self.role, self.id, self.policy, grants=self.grants)

    def is_valid(self, now: int) -> bool:
        """Tell whether the key opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)

    def use_is_due(self, now: int) -> bool:
        """Tell whether its last use is to be written again."""
        return self.last_used_at is None or self.last_used_at <= now - USE_NOTED_EVERY


_LENT = "loan"
"""The kind of a lent key's identifier, by which its row is known."""

opens_nothing = api_keys.c.hash == ""
"""Whether a row is somebody's who has no key."""

_is_token = api_keys.c.policy.is_not(None)
_is_lent = api_keys.c.id.startswith(f"{_LENT}-")
_this = api_keys.c.id == bindparam("key_id")
_by_hash = select(api_keys).where(api_keys.c.hash == bindparam("given"))
_by_id = select(api_keys).where(_this, ~opens_nothing)
_by_id_locked = _by_id.with_for_update(key_share=True)
_keys = select(api_keys).where(~_is_token, ~_is_lent, ~opens_nothing).order_by(api_keys.c.created_at, api_keys.c.id)
_tokens = select(api_keys).where(_is_token).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
_count_keys = count_of(api_keys, ~_is_token, ~_is_lent, ~opens_nothing, api_keys.c.revoked_at.is_(None))
_count_tokens = count_of(api_keys, _is_token)
_any_key = select(api_keys.c.id).where(~_is_token, ~opens_nothing, api_keys.c.grants.is_(None)).limit(1)
_revoke = update(api_keys).where(_this, api_keys.c.revoked_at.is_(None)).values(revoked_at=bindparam("now"))
_set_grants = update(api_keys).where(_this, api_keys.c.revoked_at.is_(None)).values(grants=bindparam("new_grants"))
_give = (
    update(api_keys)
    .where(_this)
    .values(
        hash=bindparam("new_hash"),
        prefix=bindparam("new_prefix"),
        name=bindparam("new_name"),
        role=bindparam("new_role"),
        grants=bindparam("new_grants"),
        expires_at=bindparam("ends_at"),
        revoked_at=None,
    )
)
_end_sessions = delete(sessions).where(sessions.c.key_id == bindparam("of_key"))
_delete_token = delete(api_keys).where(_this, _is_token)
_forget_expired = delete(api_keys).where(_is_token, api_keys.c.expires_at <= bindparam("now"))
_forget_lent = delete(api_keys).where(
    _is_lent, or_(api_keys.c.id == bindparam("key_id"), api_keys.c.expires_at <= bindparam("now"))
)
_note_use = (
    update(api_keys)
    .where(_this, or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= bindparam("before")))
    .values(last_used_at=bindparam("now"))
)


def hash_of(secret: str) -> str:
    """Return what is stored of a key or a session; nobody can get back from there, since both are 32 random bytes."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def create_key(
    transaction: Transaction,
    name: str,
    role: Role,
    expires_at: int | None,
    created_by: str,
    grants: Grants | None = None,
) -> tuple[Key, str]:
    """Make a key of the transaction's organisation; return it and the secret, which is shown this once.

    Args:
        transaction: where to write.
        name: what histories and logs call who has the key.
        role: what it may do.
        expires_at: when it ends, in microseconds; None for never.
        created_by: name of who makes it.
        grants: what a member's key reaches; None for a key that its role alone limits.

    Raises:
        InvalidInput: it would be over already, or has grants and another role than member.
        Conflict: the organisation has too many.
    """
    _check(role, expires_at, grants)
    await _refuse_more(transaction, _count_keys, MOST_KEYS, "keys; revoke some")
    key = _new(transaction, "key", name, role, None, expires_at, created_by)
    return await _insert(transaction, replace(key, grants=grants))


async def give_key(
    transaction: Transaction, user: Key, name: str, role: Role, expires_at: int | None, grants: Grants | None = None
) -> tuple[Key, str]:
    """Give a user, who stays who it is in histories, a key; return it and the secret, which is shown this once.

    Sessions of a key that it had before are over for good.

    Args:
        transaction: where to write.
        user: its row, as it is now.
        name: what it is called from now on.
        role: what it may do.
        expires_at: when the key ends, in microseconds; None for never.
        grants: what the key reaches; None for one that its role alone limits.

    Raises:
        InvalidInput: it would be over already, or has grants and another role than member.
        Conflict: the user has a key that opens something, or the organisation has too many.
    """
    if user.prefix and user.is_valid(clock.now()):
        raise Conflict(f"user: {user.id}, {user.name!r}, has a key, {user.prefix}…; revoke that first.")
    _check(role, expires_at, grants)
    await _refuse_more(transaction, _count_keys, MOST_KEYS, "keys; revoke some")
    secret = PREFIX + secrets.token_urlsafe(32)
    given = replace(
        user, name=name, prefix=secret[:SHOWN], role=role, grants=grants, expires_at=expires_at, revoked_at=None
    )
    await transaction.run(_end_sessions, of_key=user.id)  # of the key before, which this row would bring back to life
    await transaction.run(
        _give,
        key_id=user.id,
        new_hash=hash_of(secret),
        new_prefix=given.prefix,
        new_name=name,
        new_role=role,
        new_grants=grants.to_json() if grants is not None else None,
        ends_at=expires_at,
    )
    transaction.signal(CHANGED)
    return given, secret


def _check(role: Role, expires_at: int | None, grants: Grants | None) -> None:
    if grants is not None and role != "member":
        raise InvalidInput(f"role: a key that reaches only what is named has the role member, not {role}.")
    if expires_at is not None and expires_at <= clock.now():
        raise InvalidInput("expires_at: this time is over; name one that is to come.")


async def set_grants(transaction: Transaction, key_id: str, grants: Grants) -> Key:
    """Let a member's key reach something else from its next request on, and return it.

    Raises:
        NotFound: there is no such key.
        Conflict: it is revoked, or its role alone limits it.
    """
    key = await find_key(transaction, key_id)
    if key.grants is None:
        raise Conflict(f"Key {key_id} is no member's: what it may do is said by its role, {key.role}.")
    if not await transaction.run(_set_grants, key_id=key_id, new_grants=grants.to_json()):
        raise Conflict(f"Key {key_id} is revoked; make another one.")
    transaction.signal(CHANGED)
    return replace(key, grants=grants)


async def create_token(transaction: Transaction, policy: Policy, expires_at: int, created_by: str) -> tuple[Key, str]:
    """Make a scoped token of the transaction's organisation; those that are over are forgotten.

    Raises:
        InvalidInput: it would be over already.
        Conflict: the organisation has too many.
    """
    _check("member", expires_at, None)
    await transaction.run(_forget_expired, now=clock.now())
    await _refuse_more(transaction, _count_tokens, MOST_TOKENS, "tokens that are not over; delete some")
    name = f"token of {policy.origin}"
    return await _insert(transaction, _new(transaction, "token", name, "member", policy, expires_at, created_by))


async def lend_key(transaction: Transaction, grants: Grants, expires_at: int) -> tuple[Key, str]:
    """Make a key for one errand, which is in no list, and return it and the secret.

    Args:
        transaction: where to write.
        grants: what it reaches, and whose errand it is.
        expires_at: when it ends even if nobody takes it back, in microseconds.
    """
    assert grants.errand is not None
    key = _new(transaction, _LENT, grants.errand.agent_name, "member", None, expires_at, grants.errand.agent_name)
    return await _insert(transaction, replace(key, grants=grants), tell=False)


async def take_back(transaction: Transaction, key_id: str) -> None:
    """End a lent key for good, and those whose time is over."""
    await transaction.run(_forget_lent, key_id=key_id, now=clock.now())


async def list_keys(transaction: Transaction) -> list[Key]:
    """Return the organisation's keys, the oldest first, revoked ones too."""
    return [Key.from_row(row) for row in await transaction.all(_keys)]


async def list_tokens(transaction: Transaction) -> list[Key]:
    """Return the organisation's scoped tokens that are not over, the newest first."""
    now = clock.now()
    tokens = [Key.from_row(row) for row in await transaction.all(_tokens)]
    return [token for token in tokens if token.is_valid(now)]


async def find_key(transaction: Transaction, key_id: str, *, lock: bool = False) -> Key:
    """Return a key by its identifier; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such key.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, key_id=key_id)
    if row is None:
        raise NotFound(f"Key with id '{key_id}' not found")
    return Key.from_row(row)


async def find_by_secret(transaction: Transaction, secret: str) -> Key | None:
    """Return the key that a secret belongs to, if it opens anything now."""
    row = await transaction.first(_by_hash, given=hash_of(secret))
    key = Key.from_row(row) if row is not None else None
    return key if key is not None and key.is_valid(clock.now()) else None


async def revoke_key(transaction: Transaction, key_id: str) -> Key:
    """End a key for good, and return it as it is then.

    Raises:
        NotFound: there is no such key.
    """
    key = await find_key(transaction, key_id)
    if key.policy is not None:
        raise NotFound(f"Key with id '{key_id}' not found")
    now = clock.now()
    if await transaction.run(_revoke, key_id=key_id, now=now):
        transaction.signal(CHANGED)
        return replace(key, revoked_at=now)
    return key


async def delete_token(transaction: Transaction, token: str) -> None:
    """End a scoped token for good.

    Args:
        transaction: where to write.
        token: its identifier, or the token itself.

    Raises:
        NotFound: there is no such token.
    """
    row = await transaction.first(_by_hash, given=hash_of(token)) if token.startswith(PREFIX) else None
    if not await transaction.run(_delete_token, key_id=row["id"] if row is not None else token):
        raise NotFound("There is no such token; name the one that was given out, or its identifier.")
    transaction.signal(CHANGED)


async def has_keys(transaction: Transaction) -> bool:
    """Tell whether any organisation has ever been given a key that is no token and no member's."""
    return await transaction.first(_any_key) is not None


async def note_use(transaction: Transaction, key_id: str) -> None:
    """Write that a key is being used, unless somebody just has."""
    now = clock.now()
    await transaction.run(_note_use, key_id=key_id, now=now, before=now - USE_NOTED_EVERY)


def _new(
    transaction: Transaction,
    kind: str,
    name: str,
    role: Role,
    policy: Policy | None,
    expires_at: int | None,
    created_by: str,
) -> Key:
    assert transaction.organization_id is not None
    now = clock.now()
    return Key(
        new_id(kind), transaction.organization_id, name, "", role, policy, now, created_by, expires_at, None, None
    )


async def _insert(transaction: Transaction, key: Key, *, tell: bool = True) -> tuple[Key, str]:
    secret = PREFIX + secrets.token_urlsafe(32)
    key = replace(key, prefix=secret[:SHOWN])
    row = {
        "id": key.id,
        "name": key.name,
        "hash": hash_of(secret),
        "prefix": key.prefix,
        "role": key.role,
        "policy": key.policy.to_json() if key.policy is not None else None,
        "grants": key.grants.to_json() if key.grants is not None else None,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
    }
    await transaction.insert(api_keys, [row])
    if tell:
        transaction.signal(CHANGED)
    return key, secret


async def _refuse_more(transaction: Transaction, count: Select[Any], most: int, what: str) -> None:
    if await count_rows(transaction, count) >= most:
        raise Conflict(f"The organisation has {most} {what}.")
