"""What went wrong at a provider, in Folkmoot's terms.

The messages name the provider and what to do. They never hold a key: what a provider says about a refused
key is left out, and in everything else the key is blotted out.
"""

from __future__ import annotations

import re

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelTimeoutError,
    UnexpectedModelBehavior,
    UserError,
)

from folkmoot.errors import (
    AddressRefused,
    ContextOverflow,
    FolkmootError,
    ProviderAuthentication,
    ProviderError,
    ProviderRateLimit,
    ProviderRejected,
    ProviderTimeout,
)
from folkmoot.models.chat_wire import Habits
from folkmoot.models.providers import ResolvedModel, how_to_set, place_of
from folkmoot.models.wire import words_in

_OVERFLOW = re.compile(
    r"context_length_exceeded|context length|context window|context size|exceed_context|prompt is too long"
    r"|input is too long|token count.{0,40}exceeds|maximum prompt length|too many (input )?tokens"
    r"|reduce the length of (the|your)|n_ctx|greater than the context|model_context_window_exceeded"
    r"|(input|prompt)\b.{0,60}\b(exceeds|longer than|greater than)\b.{0,30}\b(max|limit|length)|model token limit"
    r"|more than max tokens|inputs`? (tokens|must have less)|range of input length",
    re.IGNORECASE | re.DOTALL,
)
_MISPLACED_SYSTEM = re.compile(
    r"system (message|role|prompt)\b.{0,60}\b(begin|first|start|only|support|not)|roles? must alternate"
    r"|conversation roles|unexpected role|expected last role|only (user|the user)",
    re.IGNORECASE | re.DOTALL,
)
_UNUSABLE_REASONING = re.compile(
    r"encrypted[_ ]content|item (with id )?'(rs|msg|fc)_|without its required .{0,12}(reasoning|following)",
    re.IGNORECASE,
)
_UNKNOWN_REASONING = re.compile(r"\breasoning(_content|_details)?\b")
_IN_A_MESSAGE = re.compile(r"\bmessages?\b|\bassistant\b")
_ONE_OF_BOTH = re.compile(r"both content and thinking", re.IGNORECASE)
_NO_NULL = re.compile(
    r"none is not an allowed value|\bnull\b|null ?(value|type)|none ?type|content.{0,40}(valid|be an?) string"
    r"|missing field .?content",
    re.IGNORECASE | re.DOTALL,
)
_UNSEEN_PICTURE = re.compile(r"image|vision|multi-?modal|mmproj", re.IGNORECASE)
_LOOKS_LIKE_A_KEY = re.compile(r"\b(?:sk|gsk|xai|key|pk|AIza|Bearer)[-_ ][\w*-]{6,}|\bAIza[\w-]{10,}")
_IN_A_KEYS_PLACE = r"(?i:\b(?:api[ _-]?key|key|bearer|token|authorization)\b(?: provided)?\W{1,4})"
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|not support|does(n't| not) support|unexpected (keyword|field|param|prop)"
    r"|extra[_ ](forbidden|fields?|inputs?|params?)|not permitted|not allowed|no such (field|param)|cannot find field",
    re.IGNORECASE,
)
_FORCED = re.compile(r"tool_choice.{0,80}(input should be|must be|invalid|incompatible)", re.IGNORECASE | re.DOTALL)
"""What servers say that let their models choose."""

_ESSENTIAL = frozenset(
    {"model", "messages", "input", "contents", "stream", "tools", "system", "instructions", "extra_body", "betas"}
)
"""What a request cannot do without."""

_LONGEST_SAID = 20_000
"""Characters of what a server says of an error in which is looked for what it means."""

_FRACTION = re.compile(r"\d{1,6}\.\d{1,9}")
_PASSING = frozenset({408, 409, 429})
_OVERFLOW_STATUS = frozenset({400, 422, 500})


class AnswerBroken(Exception):
    """An answer came, but not the whole of it."""


def translated(exc: Exception, resolved: ResolvedModel) -> FolkmootError:
    """Return the error to raise in place of what a model call raised."""
    title = resolved.provider.title
    if isinstance(exc, AddressRefused):
        return ProviderError(
            f"{title} is at {place_of(resolved.address)}, which is not public. "
            "FOLKMOOT_PRIVATE_PROVIDERS allows such addresses."
        )
    if isinstance(exc, FolkmootError):
        return exc
    if isinstance(exc, ModelConnectionError):
        if isinstance(exc, ModelTimeoutError) and exc.phase != "connect":
            return ProviderTimeout(f"{title} stopped answering amid the request for {resolved.handle}.")
        return ProviderError(f"{title} cannot be reached at {place_of(resolved.address)}, or dropped the connection.")
    if isinstance(exc, ModelAPIError):
        return _refused(exc, resolved, _words(exc, resolved))
    if isinstance(exc, AnswerBroken):
        return ProviderError(f"{title} did not bring its answer for {resolved.handle} to an end: {exc}")
    if isinstance(exc, UserError):
        return ProviderRejected(f"{resolved.handle} cannot serve this request: {_short(str(exc), resolved)}")
    if isinstance(exc, UnexpectedModelBehavior):
        return ProviderError(f"{title} sent an answer that cannot be read for {resolved.handle}.")
    return ProviderError(f"{title} sent an answer that cannot be read for {resolved.handle} ({type(exc).__name__}).")


def _refused(exc: ModelAPIError, resolved: ResolvedModel, said: str) -> FolkmootError:
    title, status = resolved.provider.title, status_of(exc)
    if is_overflow(exc, status, said):
        return ContextOverflow(f"The prompt is longer than the context window of {resolved.handle}. {said}")
    if isinstance(exc, ModelAuthenticationError) or status in (401, 403):
        why = f" {said}" if status == 403 else ""  # which may be about a region, a model or a policy
        return ProviderAuthentication(
            f"{title} did not accept the key for {resolved.handle} ({status or 'refused'}). "
            f"{how_to_set(resolved.provider)}{why}"
        )
    if isinstance(exc, ModelQuotaExceededError):
        return ProviderRateLimit(f"The quota or credit at {title} is used up; see your account there. {said}")
    if isinstance(exc, ModelRateLimitError) or status == 429:
        seconds = retry_after(exc)
        wait = f" Try again in {seconds:.0f} s." if seconds else " Try again in a moment."
        return ProviderRateLimit(f"{title} is limiting requests.{wait}")
    if isinstance(exc, ModelNotFoundError) or status == 404:
        return ProviderRejected(
            f"{title} has no model {resolved.model!r}, or not at {place_of(resolved.address)}. {said}"
        )
    if status is not None and 400 <= status < 500:
        return ProviderRejected(f"{title} refused the request for {resolved.handle} ({status}). {said}")
    return ProviderError(f"{title} failed to answer for {resolved.handle} ({status or 'no status'}). {said}")


def is_overflow(exc: ModelAPIError, status: int | None, said: str) -> bool:
    """Tell whether a provider says that the prompt is too long, in whatever words."""
    if isinstance(exc, ModelContextWindowExceededError):
        return True
    if status == 413 or (status is not None and status not in _OVERFLOW_STATUS):
        return status == 413
    return _OVERFLOW.search(f"{said} {exc.provider_error_code or ''} {exc.body or ''}"[:_LONGEST_SAID]) is not None


def is_passing(exc: Exception) -> bool:
    """Tell whether the same call may well succeed in a moment.

    A connection that was refused or dropped and the statuses 408, 409, 429 and 5xx pass; used-up credit
    does not, and a provider that was silent for long is not kept waiting for again.
    """
    if isinstance(exc, ModelTimeoutError):
        return exc.phase == "connect"
    if isinstance(exc, ModelConnectionError | AnswerBroken):
        return True
    if not isinstance(exc, ModelAPIError) or isinstance(exc, ModelQuotaExceededError):
        return False
    status = status_of(exc)
    if status is None:
        return isinstance(exc, ModelRateLimitError)
    return status in _PASSING or (status >= 500 and not is_overflow(exc, status, str(exc)))


def refuses_late_system_message(exc: Exception) -> bool:
    """Tell whether a server wants system messages nowhere but first, as some models' chat templates do."""
    status = status_of(exc)
    return status in (400, 422, 500) and _MISPLACED_SYSTEM.search(_raw_words(exc)) is not None


def refuses_reasoning(exc: Exception) -> bool:
    """Tell whether OpenAI cannot use the reasoning it was sent back, such as that of another account."""
    return status_of(exc) in (400, 404) and _UNUSABLE_REASONING.search(_raw_words(exc)) is not None


def forgets_reasoning(exc: Exception) -> bool:
    """Tell whether a server does not take back what its model thought: it knows no field for that in a message, or
    its template, such as that of gpt-oss, wants no other text beside.
    """
    said, status = _raw_words(exc), status_of(exc)
    if status in (400, 422, 500) and _ONE_OF_BOTH.search(said):
        return True
    wanted = (_UNKNOWN, _UNKNOWN_REASONING, _IN_A_MESSAGE)
    return status in (400, 422) and all(pattern.search(said) for pattern in wanted)


def refuses_null(exc: Exception) -> bool:
    """Tell whether a server, or its model's template, wants a text in every message, be it an empty one."""
    return status_of(exc) in (400, 422, 500) and _NO_NULL.search(_raw_words(exc)) is not None


def refuses_pictures(exc: Exception) -> bool:
    """Tell whether a model cannot see pictures, or not those that it was sent."""
    status = status_of(exc)
    return status in (400, 404, 413, 415, 422, 500) and _UNSEEN_PICTURE.search(_raw_words(exc)) is not None


def refused_parameter(exc: Exception, habits: Habits) -> str | None:
    """Return the parameter that a server says it does not know, if the request can do without it."""
    if status_of(exc) not in (400, 422, 500, 501):
        return None
    body = exc.body if isinstance(exc, ModelAPIError) else None
    said = f"{body} {exc}"[:_LONGEST_SAID]
    if _FORCED.search(said) and "tool_choice" in habits.sent - habits.refused:
        return "tool_choice"
    if not _UNKNOWN.search(said) or re.search("invalid schema", said, re.IGNORECASE):
        return None
    candidates = sorted(habits.sent - habits.refused - _ESSENTIAL)
    named = body.get("param") if isinstance(body, dict) else None
    if named in candidates:
        return str(named)
    return next((name for name in candidates if _names(name, said)), None)


def _names(parameter: str, said: str) -> bool:
    """Tell whether an error names a parameter; what is an ordinary word too has to be in quotes, or said to be one."""
    if "_" in parameter:
        return re.search(rf"\b{parameter}\b", said) is not None
    quoted = rf"[\"'`]{parameter}[\"'`.\[]|\b{parameter}: extra inputs|\b{parameter} (is|are) (not|un)"
    told = rf"(argument|parameter|field|property|key)s?( name| supplied)?\W{{1,3}}{parameter}\b"
    return re.search(f"{quoted}|{told}", said, re.IGNORECASE) is not None


def retry_after(exc: Exception) -> float | None:
    """Return the seconds that the provider asked to wait."""
    told = exc.retry_after if isinstance(exc, ModelAPIError) else None
    if told is None and isinstance(exc, ModelHTTPError) and exc.headers:
        fraction = _FRACTION.fullmatch(exc.headers.get("retry-after", ""))  # which pydantic-ai does not read
        return float(fraction[0]) if fraction else None
    return told


def status_of(exc: Exception) -> int | None:
    """Return the HTTP status of an error, if there was one."""
    return exc.status_code if isinstance(exc, ModelHTTPError) else None


def _raw_words(exc: Exception) -> str:
    return ((words_in(exc.body) if isinstance(exc, ModelAPIError) else "") or str(exc))[:_LONGEST_SAID]


def _words(exc: ModelAPIError, resolved: ResolvedModel) -> str:
    if isinstance(exc, ModelHTTPError) and not exc.body:
        return "It did not say why."
    return f"It said: {_short(_raw_words(exc), resolved)}"


def _short(text: str, resolved: ResolvedModel) -> str:
    text = _without_key(text, resolved.key or "")
    text = _LOOKS_LIKE_A_KEY.sub("***", " ".join(text.split()))
    return text if len(text) <= 300 else f"{text[:300]}…"


def _without_key(text: str, key: str) -> str:
    """Return the text with the key blotted out; one that might be a word only where a key is spoken of.

    >>> _without_key("max_tokens exceeds the maximum; your key: x", "x")
    'max_tokens exceeds the maximum; your key: ***'
    """
    if not key:
        return text
    if len(key) >= 16 or (len(key) >= 8 and not key.isalpha()):
        return text.replace(key, "***")
    return re.sub(rf"({_IN_A_KEYS_PLACE}){re.escape(key)}(?!\w)", r"\1***", text)
