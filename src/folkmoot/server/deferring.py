"""What FastAPI builds for each parameter, body and answer of each route, built when it is first asked for.

There are some 1,350 of them, each with a validator and a serializer of its own: two seconds of a start, and 10 MB of a
process that most of its life uses a tenth of them.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from fastapi._compat.v2 import ModelField
from pydantic.warnings import UnsupportedFieldAttributeWarning

_ADAPTER = "_type_adapter"


class _BuiltWhenUsed:
    """Stands where a field has its adapter, until somebody looks for it; then the field's own is found before it."""

    def __get__(self, field: ModelField, owner: type[ModelField]) -> Any:
        _build(field)
        adapter = vars(field)[_ADAPTER]
        with warnings.catch_warnings():
            # As FastAPI does while it builds: what is said of the field, not of its type, has no effect there.
            warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
            adapter.rebuild()  # one of a model that is built when first used is not built either
        return adapter


_build = ModelField.__post_init__


def _wait(self: ModelField) -> None:
    """Build nothing yet."""


def defer_fields() -> None:
    """Let FastAPI make routes without building what reads and writes their values; a second call changes nothing.

    FastAPI has no setting for it. A test fails when what is used of it here is no longer so.
    """
    # FastAPI refuses models of pydantic 1, and loads all of it, 1.6 MB, to know one; without it there are none.
    sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]
    setattr(ModelField, _ADAPTER, _BuiltWhenUsed())
    ModelField.__post_init__ = _wait  # type: ignore[method-assign]
