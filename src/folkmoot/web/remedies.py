"""What to do about a run that failed, by the type of its error."""

from __future__ import annotations

from folkmoot.runs.runs import Run

_REMEDIES = {
    "ProviderAuthentication": "Set the provider's key in the server's environment, or correct it, and start it anew.",
    "ProviderRateLimit": "Wait a little and retry, or give the agent a model of another provider.",
    "ProviderTimeout": "Retry; if it happens again raise FOLKMOOT_MODEL_TIMEOUT or choose a faster model.",
    "ProviderRejected": "Change the model or its settings, and retry.",
    "ProviderError": "Retry; if it happens again look at the provider's status, or choose another model.",
    "ContextOverflow": "Choose a model with a larger context window, or say it in fewer words.",
    "process_died": "The server was stopped in the middle of it. What was stored stands; retry the rest.",
    "server_stopped": "The server was stopped in the middle of it. What was stored stands; retry the rest.",
    "NotFound": "What it names is not there any more. Look at the agent's model, tools and blocks.",
    "StoreUnavailable": "The database was away. Retry when it is back.",
    "StoreOverloaded": "The database was busy. Retry.",
    "StoreFull": "The disk is full. Make room, and retry.",
    "ServerStopped": "The server was stopped in the middle of it. What was stored stands; retry the rest.",
}


def remedy_of(run: Run) -> str:
    """Return what to do about a run that failed, or nothing when that is not known or it did not fail."""
    error = run.details.get("error") or {}
    return _REMEDIES.get(error.get("type", ""), "") if run.status == "failed" else ""


def can_be_retried(run: Run) -> bool:
    """Tell whether what was said to a run in vain can be said again, and nobody has yet."""
    return run.is_over and bool(run.details.get("said")) and "retried_by" not in run.details
