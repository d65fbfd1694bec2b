"""Spans of what this process does, for OpenTelemetry: requests, turns, model calls, tools, memory.

The usual `OTEL_*` variables ask for them. Until `begin` finds that they do, OpenTelemetry's SDK is not imported and a
span is one object that does nothing. The provider is our own, not OpenTelemetry's global one: packages that would trace
what they do, with whatever is said, are not heard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from folkmoot import __version__

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OpenSpan
    from opentelemetry.trace import Tracer

Attributes: TypeAlias = Mapping[str, "str | int | bool | Sequence[str] | None"]
"""What a span says, by the names of OpenTelemetry's conventions; None says nothing."""

Kind: TypeAlias = Literal["internal", "server", "client"]

EXPORTERS = ("otlp", "console", "none")
FAREWELL_SECONDS = 3.0
"""How long the last spans may take to be sent."""

INSTALL = "pip install 'folkmoot[otel]'"


class Span:
    """Something that is being done, while it is not traced: whatever it is told is forgotten."""

    shows_content = False
    """Whether what people and agents say belongs into it."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""

    def tell(self, attributes: Attributes) -> None:
        """Add what has become known of it."""

    def rename(self, name: str) -> None:
        """Give it another name."""

    def fail(self, error_type: str) -> None:
        """Say that it failed, and how: an error's name, never its message, which may have content."""


NO_SPAN = Span()


class _Recorded(Span):
    """Something that is being done and traced."""

    def __init__(self, span: OpenSpan, *, current: bool, shows_content: bool) -> None:
        self._span, self._current, self.shows_content = span, current, shows_content
        self._token: Token[Context] | None = None

    def __enter__(self) -> Self:
        if self._current:
            from opentelemetry import context, trace

            self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            from opentelemetry import context

            context.detach(self._token)
        if kind is not None and kind is not GeneratorExit:  # after which a reader has only gone
            self.fail(kind.__name__)
        self._span.end()

    def tell(self, attributes: Attributes) -> None:
        self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, error_type: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)


class _Tracing:
    """Where the spans of this process go."""

    def __init__(self, provider: TracerProvider, *, shows_content: bool) -> None:
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("folkmoot", __version__)
        self.shows_content = shows_content


_tracing: _Tracing | None = None


def span(
    name: str, attributes: Attributes, *, kind: Kind = "internal", parent: Context | None = None, current: bool = True
) -> Span:
    """Return a span, to be entered at once; it hangs under the span that is current here.

    Args:
        name: what is done, such as `execute_tool memory_insert`.
        attributes: what is known of it now.
        kind: whether it answers a request of others, or asks others.
        parent: another place to hang it under, from `here` or `from_caller`.
        current: whether spans that begin inside hang under it; a generator's must not, whose caller works in between.
    """
    if _tracing is None:
        return NO_SPAN
    return _recorded(_tracing, name, attributes, kind, parent, current=current)


def apart(name: str, attributes: Attributes) -> Span:
    """Return a span of something that was set off here and goes on by itself: one without a parent, with a link."""
    if _tracing is None:
        return NO_SPAN
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, get_current_span

    set_off_by = get_current_span().get_span_context()
    links = [Link(set_off_by)] if set_off_by.is_valid else []
    return _recorded(_tracing, name, attributes, "internal", Context(), current=True, links=links)


def _recorded(
    tracing: _Tracing,
    name: str,
    attributes: Attributes,
    kind: Kind,
    parent: Context | None,
    *,
    current: bool,
    links: Sequence[Any] = (),
) -> Span:
    from opentelemetry.trace import SpanKind

    known = {key: value for key, value in attributes.items() if value is not None}
    begun = tracing.tracer.start_span(name, parent, SpanKind[kind.upper()], known, links)
    if not begun.is_recording():  # not among those that the sampler takes, but what is inside hangs under it
        return _Recorded(begun, current=current, shows_content=False)
    return _Recorded(begun, current=current, shows_content=tracing.shows_content)


def is_on() -> bool:
    """Tell whether spans are recorded."""
    return _tracing is not None


def here() -> Context | None:
    """Return the place of the current span, for work that another task or thread does; None while nothing is traced."""
    if _tracing is None:
        return None
    from opentelemetry.context import get_current

    return get_current()


def under(place: Context | None) -> AbstractContextManager[object]:
    """Let spans that begin inside hang under `place`, whichever task that is in."""
    return _NOWHERE if place is None else _Under(place)


_NOWHERE = nullcontext()


class _Under:
    """Makes a place the current one."""

    def __init__(self, place: Context) -> None:
        self._place = place

    def __enter__(self) -> None:
        from opentelemetry.context import attach

        self._token = attach(self._place)

    def __exit__(self, *_: object) -> None:
        from opentelemetry.context import detach

        detach(self._token)


def from_caller(headers: Mapping[bytes, bytes]) -> Context | None:
    """Return the place that a request's headers name, `traceparent` unless `OTEL_PROPAGATORS` says otherwise."""
    if _tracing is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.propagate import extract

    return extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}, Context())


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Tell whether the variables ask for spans."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    named = any(environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    return exporter != "none" if exporter else named


def why_not(environ: Mapping[str, str]) -> str | None:
    """Return why there are no spans although they are wanted, and what to do about it."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter not in EXPORTERS:
        return f"OTEL_TRACES_EXPORTER={exporter} is not known; use {', '.join(EXPORTERS)}"
    said = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if exporter == "otlp" and said not in (None, "", "http/protobuf"):
        return f"OTEL_EXPORTER_OTLP_PROTOCOL={said} is not spoken here; use http/protobuf"
    parts = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
    return None if all(map(_is_installed, parts)) else f"not installed: {INSTALL}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # one of the packages around it is missing
        return False


def begin() -> None:
    """Begin to record this process's spans, if the environment's variables ask for them and nothing is in the way."""
    global _tracing
    if not is_wanted(os.environ) or why_not(os.environ) is not None:
        return
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    own = {"service.version": __version__}
    if "service.name" not in OTELResourceDetector().detect().attributes:
        own["service.name"] = "folkmoot"
    exporter: SpanExporter
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip() == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    shows_content = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower() == "true"
    _tracing = _Tracing(provider, shows_content=shows_content)


def end() -> None:
    """Send what is left, for `FAREWELL_SECONDS` at most, and record no more."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        # The provider would try for half a minute to reach a receiver that is away.
        sending = Thread(target=tracing.provider.shutdown, name="folkmoot-spans", daemon=True)
        sending.start()
        sending.join(FAREWELL_SECONDS)
