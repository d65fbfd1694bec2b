"""Telling a callback's address that a run has ended: one signed POST, tried again when it fails in a passing way.

With a secret, a request carries `Folkmoot-Signature: t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of
`<t>.<body>`: the scheme of Stripe's webhooks (https://docs.stripe.com/webhooks#verify-manually). A receiver computes
it over the raw body, compares in constant time and refuses a time that is more than a few minutes off. The same run
may arrive twice, since an answer can get lost.

The address comes from whoever may start a run, so it must not lead into this server's own network (`outbound/`), and
no redirect is followed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from folkmoot.errors import AddressRefused, InvalidInput, NotFound, StoreError
from folkmoot.outbound.addresses import check_url
from folkmoot.runs.runs import find_run, store_callback
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Store

if TYPE_CHECKING:
    import ssl

    import httpx2

logger = logging.getLogger(__name__)

SIGNATURE_HEADER = "Folkmoot-Signature"

TIMEOUT = 10.0
"""Seconds for one try, from looking the host up to the answer's status."""

PAUSES = (1.0, 4.0, 16.0)
"""Seconds before each further try."""


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """What came of a callback. `error` is None when it was taken with a 2xx status."""

    status_code: int | None
    error: str | None
    sent_at: int
    """When the last try was made, in microseconds."""


@dataclass(frozen=True, slots=True)
class _Callback:
    url: httpx2.URL
    content: bytes
    secret: bytes | None
    allow_private: bool
    tls: ssl.SSLContext | None

    @property
    def host(self) -> str:
        return self.url.raw_host.decode("ascii")


def check_callback_url(url: str, allow_private: bool) -> None:
    """Refuse an address that no callback may be sent to, as far as one can tell without looking its host up.

    Raises:
        InvalidInput: it is no http or https address, has no host or has credentials in it, or its host is written
            as an address that is not public.
    """
    try:
        check_url(url, "callback_url", allow_private=allow_private)
    except AddressRefused as error:
        raise AddressRefused(f"{error.message} FOLKMOOT_PRIVATE_CALLBACKS allows such addresses.") from error


async def tell_callback(store: Store, settings: Settings, run_id: str) -> None:
    """Send a run's end to its `callback_url`, and store what came of that; nothing while its end is not stored."""
    try:
        run = await store.read(lambda transaction: find_run(transaction, run_id))
        if not run.is_over:
            return
        body = {
            "run_id": run.id,
            "agent_id": run.agent_id,
            "status": run.status,
            "stop_reason": run.stop_reason,
            "usage": run.details.get("usage"),
            "error": run.details.get("error"),
        }
        result = await call_back(run.details["callback_url"], body, settings)
        told = {
            "callback_sent_at": result.sent_at,
            "callback_status_code": result.status_code,
            "callback_error": result.error,
        }
        await store.write(lambda transaction: store_callback(transaction, run_id, told))
    except (StoreError, NotFound) as error:
        logger.warning("Callback was not sent or not noted: %s", error.message, extra={"run_id": run_id})


async def call_back(url: str, body: Mapping[str, Any], settings: Settings) -> CallbackResult:
    """Send a callback as a server's settings say, and return what came of it."""
    secret = settings.callback_secret
    return await send_callback(
        url,
        body,
        secret=secret.get_secret_value().encode() if secret else None,
        allow_private=settings.private_callbacks,
    )


async def send_callback(
    url: str,
    body: Mapping[str, Any],
    *,
    secret: bytes | None,
    allow_private: bool,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    tls: ssl.SSLContext | None = None,
) -> CallbackResult:
    """Send a callback and return what came of it; a failed delivery raises nothing.

    Args:
        url: where to.
        body: sent as JSON.
        secret: key of the signature; not signed when None.
        allow_private: also send to addresses that are not public.
        pause: waits the given seconds between two tries.
        tls: certificates to trust; those that httpx2 comes with when None.
    """
    content = json.dumps(body, separators=(",", ":")).encode("ascii")
    try:
        address = check_url(url, "callback_url", allow_private=allow_private)
    except InvalidInput as error:
        return CallbackResult(None, error.message, clock.now())
    callback = _Callback(address, content, secret, allow_private, tls)
    for seconds in PAUSES:
        result, passing = await _try(callback)
        if not passing:
            return result
        await pause(seconds)
    result, _ = await _try(callback)
    return result


def signature(secret: bytes, timestamp: int, content: bytes) -> str:
    """Return the value of the signature header for a body sent at a unix time."""
    digest = hmac.new(secret, b"%d." % timestamp + content, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


async def _try(callback: _Callback) -> tuple[CallbackResult, bool]:
    """Send once; return what came of it and whether it may go better later."""
    import httpx2

    sent_at = clock.now()
    try:
        async with asyncio.timeout(TIMEOUT):
            status = await _post(callback)
    except InvalidInput as error:
        return CallbackResult(None, f"callback_url: {error.message}", sent_at), False
    except (TimeoutError, httpx2.TimeoutException):
        return CallbackResult(None, f"{callback.host} did not answer within {TIMEOUT:g} seconds.", sent_at), True
    except (OSError, httpx2.TransportError) as error:
        return CallbackResult(None, f"{callback.host} could not be reached ({type(error).__name__}).", sent_at), True
    if 200 <= status < 300:
        return CallbackResult(status, None, sent_at), False
    passing = status >= 500 or status == httpx2.codes.TOO_MANY_REQUESTS
    return CallbackResult(status, f"{callback.host} answered with status {status}.", sent_at), passing


async def _post(callback: _Callback) -> int:
    """Return the status of the answer, whose body stays unread."""
    from folkmoot.outbound.connections import guarded_client  # HTTP clients only where they are used

    headers = {"Content-Type": "application/json", "User-Agent": "Folkmoot"}
    if callback.secret is not None:
        headers[SIGNATURE_HEADER] = signature(callback.secret, int(time.time()), callback.content)
    async with (
        guarded_client(allow_private=callback.allow_private, timeout=TIMEOUT, tls=callback.tls) as client,
        client.stream("POST", callback.url, content=callback.content, headers=headers) as response,
    ):
        return response.status_code
