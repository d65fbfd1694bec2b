"""Writes the description of the API that servers answer with: `make openapi`."""

from __future__ import annotations

from folkmoot.application import create_app
from folkmoot.server.description import FILE, describe
from folkmoot.settings import Settings

if __name__ == "__main__":
    FILE.write_text(describe(create_app(Settings(), {})), encoding="utf-8")
