"""What is kept of signing in to servers by OAuth: sealed tokens, and the answers that browsers come back with.

The protocol of signing in (discovery, registration, PKCE, refresh) is the SDK's. A browser may come back to another
process than the one that sent it, so that its answer goes through the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import BadRequest, ToolServerFailed
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.store.signals import wait_or_look_again
from folkmoot.store.tables import mcp_authorizations, mcp_sign_ins

if TYPE_CHECKING:
    import httpx2
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthToken

    from folkmoot.tools.mcp.http import SignedIn

SIGN_IN_SECONDS = 600.0
"""How long somebody has to sign in, from when the address is shown."""

LOOK_AGAIN_SECONDS = 5.0
"""Seconds between two looks for the answer, where no wake-up came through."""

RENEW_SECONDS = 30.0
"""How long it may take to renew tokens; then somebody else tries it."""

LEAVE_SECONDS = 3.0
"""How long a process that stops waits for tokens that it is renewing; whoever answers slowly shall not hold it up."""

CLIENT_NAME = "Folkmoot"

_WAYS = ("client_secret_basic", "client_secret_post")
"""How a client's secret is sent, the standard's first."""

_RENEWING = "renewing_until"
"""Beside tokens that are being renewed: until when nobody else does that."""

_this = (mcp_authorizations.c.server_id == bindparam("of_server"), mcp_authorizations.c.subject == bindparam("whose"))
_find = select(mcp_authorizations.c.sealed_tokens, mcp_authorizations.c.updated_at).where(*_this)
_update = (
    update(mcp_authorizations).where(*_this).values(sealed_tokens=bindparam("sealed"), updated_at=bindparam("now"))
)
_swap = _update.where(mcp_authorizations.c.updated_at == bindparam("read_at"))
_sign_in = select(mcp_sign_ins).where(mcp_sign_ins.c.id == bindparam("sign_in_id"))
_answer = (
    update(mcp_sign_ins)
    .where(
        mcp_sign_ins.c.id == bindparam("sign_in_id"),
        mcp_sign_ins.c.sealed_answer.is_(None),
        mcp_sign_ins.c.expires_at > bindparam("now"),
    )
    .values(sealed_answer=bindparam("sealed"))
)
_end = delete(mcp_sign_ins).where(mcp_sign_ins.c.id == bindparam("sign_in_id"))
_forget_old = delete(mcp_sign_ins).where(mcp_sign_ins.c.expires_at <= bindparam("now"))


class Renewals:
    """What renews tokens in this process; it goes on when who needed them does not wait any more."""

    def __init__(self, *, allow_private: bool) -> None:
        """Start with none; `allow_private` has addresses asked that are not public, too."""
        self.allow_private = allow_private
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, renewing: Coroutine[Any, Any, None]) -> None:
        """Renew in a task of its own, and wait for it."""
        task = asyncio.create_task(renewing)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Wait a while for those under way: a token that was sent is used up, and what comes instead has to be kept."""
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # each says that it renews no more

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting any more


class Authorization:
    """What is kept for one server and subject; the SDK reads and writes it as its `TokenStorage`.

    Many servers renew tokens once by each token, and take a second use for theft, after which none of them is worth
    anything. So who renews them says so first beside them, and everybody else, here and in other processes, waits.
    """

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        server_id: str,
        subject: str,
        server_url: str,
        renewals: Renewals,
        redirect_uri: str | None = None,
    ) -> None:
        """Keep tokens in the store.

        Args:
            store: where, as the organisation sees it.
            sealer: seals them.
            server_id: for which server.
            subject: for whom (`ServerConfiguration.subject`).
            server_url: the server's address; tokens for another one are none.
            renewals: what renews them.
            redirect_uri: where the browser comes back to from a sign-in; the one that was used last when None.
        """
        self._store = store
        self._server_url = server_url
        self._redirect_uri = redirect_uri
        self._sealer = sealer
        self._place = {"of_server": server_id, "whose": subject}
        self._renewals = renewals
        self._topic = f"mcp-tokens-{server_id}"
        self._kept: dict[str, Any] = {}
        self._read_at = 0
        self._lock = asyncio.Lock()  # of what is kept, which requests renew beside each other
        self._renews = False
        self._provider: OAuthClientProvider | None = None

    async def load(self) -> bool:
        """Read what is kept; tell whether there are tokens."""
        row = await self._store.read(lambda transaction: transaction.first(_find, **self._place))
        kept = json.loads(self._sealer.unseal(row["sealed_tokens"])["tokens"]) if row is not None else {}
        is_for_us = kept.get("server_url", self._server_url) == self._server_url
        self._kept = kept if is_for_us else {}
        if self._redirect_uri not in (None, kept.get("redirect_uri")):
            self._kept.pop("client", None)  # which is registered with where browsers come back to
        self._read_at = row["updated_at"] if row is not None else 0
        return "tokens" in self._kept

    async def _reload(self) -> bool:
        """Give the SDK the tokens that are kept; tell whether they are other ones than it has."""
        assert self._provider is not None
        context, has = self._provider.context, self._kept.get("tokens")
        if not await self.load() or (self._kept["tokens"] == has and context.current_tokens is not None):
            return False
        context.current_tokens = await self.get_tokens()
        context.client_info = await self.get_client_info()
        context.token_expiry_time = self._kept.get("expires_at")
        return True

    async def _look(self, sent: OAuthToken | None) -> None:
        """Give the SDK the tokens that are kept; if it has only the ones that were sent in vain, they are over."""
        assert self._provider is not None
        context = self._provider.context
        async with self._lock:
            if context.current_tokens is sent and not await self._reload() and sent is not None:
                context.token_expiry_time = 1.0  # whatever it said

    async def _renew(self, like: httpx2.Request) -> None:
        """Have tokens renewed that are over, or wait for who does it; the SDK then has what came of it.

        Args:
            like: the request that they are for.
        """
        await self._renewals.run(self._renew_once(like))

    async def _renew_once(self, like: httpx2.Request) -> None:
        async with self._lock:
            if await self._may_renew():
                await self._renew_alone(like)

    async def _may_renew(self) -> bool:
        """Say to everybody that the tokens are being renewed here; False when that need not or cannot be."""
        assert self._provider is not None
        context = self._provider.context
        with self._store.signals.listening(self._topic) as written:
            while True:
                written.clear()
                if context.is_token_valid() or await self._reload() or "tokens" not in self._kept:
                    return False
                if self._kept.get(_RENEWING, 0) <= clock.now():
                    if await self._swap({**self._kept, _RENEWING: clock.now() + int(RENEW_SECONDS * 1e6)}):
                        return True
                    continue  # somebody else was faster
                await wait_or_look_again(written, LOOK_AGAIN_SECONDS)

    async def _renew_alone(self, like: httpx2.Request) -> None:
        from folkmoot.tools.mcp.http import renew_tokens

        assert self._provider is not None
        self._renews = True
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                await renew_tokens(self._provider, like, allow_private=self._renewals.allow_private)
        except TimeoutError as error:
            raise ToolServerFailed("The tokens of the sign-in could not be renewed in time.") from error
        finally:
            self._renews = False
            if _RENEWING in self._kept:  # it was refused, or did not work
                await self._swap({name: value for name, value in self._kept.items() if name != _RENEWING})

    def auth(
        self,
        show: Callable[[str], Awaitable[None]] | None = None,
        wait: Callable[[], Awaitable[AuthorizationCodeResult]] | None = None,
    ) -> SignedIn:
        """Return what adds a token to requests and renews it; with `show` and `wait`, also what gets the first one.

        Args:
            show: shows somebody the address to sign in at.
            wait: waits for what the browser comes back with.
        """
        from mcp.client.auth import OAuthClientProvider
        from mcp.shared.auth import (
            AuthorizationCodeResult,
            OAuthClientMetadata,
            OAuthMetadata,
            ProtectedResourceMetadata,
        )
        from pydantic import AnyUrl

        from folkmoot.tools.mcp.http import SignedIn

        redirect_uri = self._redirect_uri or self._kept.get("redirect_uri", "http://127.0.0.1/")
        local = urlsplit(redirect_uri).hostname in ("localhost", "127.0.0.1", "::1")
        metadata = OAuthClientMetadata(
            client_name=CLIENT_NAME,
            redirect_uris=[AnyUrl(redirect_uri)],
            application_type="native" if local else "web",
        )

        async def answered() -> AuthorizationCodeResult:
            assert wait is not None
            answer, known = await wait(), context.oauth_metadata
            if answer.iss and known is not None and answer.iss == signed_in.issuer:  # which the SDK has as expected
                return AuthorizationCodeResult(code=answer.code, state=answer.state, iss=str(known.issuer))
            return answer

        provider = OAuthClientProvider(self._server_url, metadata, self, show, answered if wait is not None else None)
        context = provider.context
        context.token_expiry_time = self._kept.get("expires_at")
        if (told := self._kept.get("oauth_metadata")) is not None:
            context.oauth_metadata = OAuthMetadata.model_validate(told)
        if (told := self._kept.get("resource_metadata")) is not None:
            context.protected_resource_metadata = ProtectedResourceMetadata.model_validate(told)
        context.auth_server_url = self._kept.get("auth_server_url")
        self._provider = provider
        signed_in = SignedIn(provider, self._look, self._renew)
        return signed_in

    async def get_tokens(self) -> OAuthToken | None:
        """Return the tokens."""
        from mcp.shared.auth import OAuthToken

        return OAuthToken.model_validate(self._kept["tokens"]) if "tokens" in self._kept else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens, and what was found out about where to renew them.

        Who signed in while others' tokens were being renewed stays signed in: theirs are kept then, and used.
        """
        assert self._provider is not None
        context = self._provider.context
        kept = {name: value for name, value in self._kept.items() if name != _RENEWING} | {
            "tokens": tokens.model_dump(mode="json"),
            "expires_at": context.token_expiry_time,
            "oauth_metadata": _plain(context.oauth_metadata),
            "resource_metadata": _plain(context.protected_resource_metadata),
            "auth_server_url": context.auth_server_url,
        }
        if not self._renews:
            self._kept = kept
            await self._save()
        elif not await self._swap(kept):
            await self._reload()

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return as what client the server knows us."""
        from mcp.shared.auth import OAuthClientInformationFull

        return OAuthClientInformationFull.model_validate(self._kept["client"]) if "client" in self._kept else None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep as what client the server knows us; where there are tokens, these need theirs until others come.

        A server that gives a secret and does not say how it is sent means the way of the standard (RFC 7591), or the
        other one where it takes only that. The SDK, which uses this very object, would send none.
        """
        if client_info.client_secret and client_info.token_endpoint_auth_method is None:
            metadata = self._provider.context.oauth_metadata if self._provider is not None else None
            taken = (metadata.token_endpoint_auth_methods_supported if metadata is not None else None) or _WAYS
            client_info.token_endpoint_auth_method = next((way for way in _WAYS if way in taken), None)
        self._kept["client"] = client_info.model_dump(mode="json")
        if "tokens" not in self._kept:
            await self._save()

    async def _save(self) -> None:
        self._kept["server_url"] = self._server_url
        if self._redirect_uri is not None:
            self._kept["redirect_uri"] = self._redirect_uri
        row = {**self._place, "sealed": self._sealed(self._kept), "now": max(clock.now(), self._read_at + 1)}

        async def save(transaction: Transaction) -> None:
            if not await transaction.run(_update, **row):
                made = {"server_id": row["of_server"], "subject": row["whose"]}
                made |= {"sealed_tokens": row["sealed"], "updated_at": row["now"]}
                await transaction.insert(mcp_authorizations, [made], or_keep=True)
            transaction.signal(self._topic)

        await self._store.write(save)
        self._read_at = row["now"]

    async def _swap(self, kept: dict[str, Any]) -> bool:
        """Keep this in the place of what was read, unless somebody else has written meanwhile; tell which."""
        now = max(clock.now(), self._read_at + 1)
        row = {**self._place, "sealed": self._sealed(kept), "now": now, "read_at": self._read_at}

        async def swap(transaction: Transaction) -> int:
            transaction.signal(self._topic)
            return await transaction.run(_swap, **row)

        if not await self._store.write(swap):
            return False
        self._kept, self._read_at = kept, now
        return True

    def _sealed(self, kept: dict[str, Any]) -> Any:
        return self._sealer.seal({"tokens": json.dumps(kept)})


class SignIn:
    """One person's way through a browser: begun here, and answered wherever the browser comes back."""

    def __init__(self, store: Store, sealer: Sealer, server_id: str) -> None:
        """Prepare it."""
        self._store = store
        self._sealer = sealer
        self._server_id = server_id
        self._id = ""
        self._refused: ToolServerFailed | None = None
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Where to sign in, once that is known."""

    async def show(self, address: str) -> None:
        """Take note of a sign-in that begins, and of the address.

        Raises:
            ToolServerFailed: it was refused; nobody is asked twice.
        """
        if self._refused is not None:
            raise self._refused
        (state,) = parse_qs(urlsplit(address).query)["state"]
        self._id = _hash(state)
        now = clock.now()
        row = {
            "id": self._id,
            "server_id": self._server_id,
            "sealed_answer": None,
            "expires_at": now + int(SIGN_IN_SECONDS * 1_000_000),
        }

        async def begin(transaction: Transaction) -> None:
            await transaction.run(_forget_old, now=now)
            await transaction.insert(mcp_sign_ins, [row])

        await self._store.write(begin)
        if not self.address.done():
            self.address.set_result(address)

    async def wait(self) -> AuthorizationCodeResult:
        """Wait for what the browser comes back with.

        Raises:
            ToolServerFailed: somebody said no, or nobody came back in time.
        """
        try:
            return _result(await self._in_time())
        except ToolServerFailed as error:
            self._refused = error
            raise
        finally:
            await self._store.write(lambda transaction: transaction.run(_end, sign_in_id=self._id))

    async def _in_time(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(SIGN_IN_SECONDS):
                return await self._answered()
        except TimeoutError as error:
            raise ToolServerFailed(f"Nobody signed in within {SIGN_IN_SECONDS:g} seconds.") from error

    async def _answered(self) -> dict[str, str]:
        with self._store.signals.listening(sign_ins_topic(self._server_id)) as answered:
            while True:
                answered.clear()
                row = await self._store.read(lambda transaction: transaction.first(_sign_in, sign_in_id=self._id))
                if row is None:
                    raise ToolServerFailed("The sign-in was given up: the MCP server was changed or deleted.")
                if row["sealed_answer"] is not None:
                    return self._sealer.unseal(row["sealed_answer"])
                await wait_or_look_again(answered, LOOK_AGAIN_SECONDS)


def sign_ins_topic(server_id: str) -> str:
    """Return what is signalled when a sign-in to a server is answered or given up."""
    return f"mcp-sign-ins-{server_id}"


async def take_answer(store: Store, sealer: Sealer, answer: dict[str, str]) -> None:
    """Keep what a browser came back with, for who waits for it; each sign-in is answered once.

    Args:
        store: everybody's, for a browser comes without a key: the state says whose sign-in it is.
        sealer: seals the answer, which holds a code for tokens.
        answer: the parameters of the address that it came back to.

    Raises:
        BadRequest: nobody waits for it.
    """
    sign_in_id = _hash(answer.get("state", ""))
    sealed = sealer.seal(answer)

    async def take(transaction: Transaction) -> bool:
        row = await transaction.first(_sign_in, sign_in_id=sign_in_id)
        if row is None:
            return False
        own = transaction.within(row["organization_id"])
        own.signal(sign_ins_topic(row["server_id"]))
        return bool(await own.run(_answer, sign_in_id=sign_in_id, sealed=sealed, now=clock.now()))

    if not await store.write(take):
        raise BadRequest("This sign-in is over or was never begun; connect the MCP server again.")


def _result(answer: Mapping[str, str]) -> AuthorizationCodeResult:
    from mcp.shared.auth import AuthorizationCodeResult

    if answer.get("error") or not answer.get("code"):
        said = answer.get("error_description") or answer.get("error") or "it sent no code"
        raise ToolServerFailed(f"The sign-in was refused: {said[:300]}")
    return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


def _plain(model: Any) -> Any:
    return None if model is None else model.model_dump(mode="json", exclude_none=True)
