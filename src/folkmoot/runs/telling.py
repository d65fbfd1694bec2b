"""Telling somebody that a run is over."""

from __future__ import annotations

import logging

from folkmoot.errors import NotFound, StoreError
from folkmoot.runs.callbacks import send_callback
from folkmoot.runs.runs import find_run, store_callback
from folkmoot.settings import Settings
from folkmoot.store.engine import Store

logger = logging.getLogger(__name__)


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
        secret = settings.callback_secret.get_secret_value().encode() if settings.callback_secret else None
        result = await send_callback(
            run.details["callback_url"], body, secret=secret, allow_private=settings.private_callbacks
        )
        told = {
            "callback_sent_at": result.sent_at,
            "callback_status_code": result.status_code,
            "callback_error": result.error,
        }
        await store.write(lambda transaction: store_callback(transaction, run_id, told))
    except (StoreError, NotFound) as error:
        logger.warning("Callback was not sent or not noted: %s", error.message, extra={"run_id": run_id})
