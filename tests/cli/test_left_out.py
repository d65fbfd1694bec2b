"""What packages would load although no request needs it stays out of a server's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVING = """
import asyncio, sys
from folkmoot.application import create_app
from folkmoot.settings import Settings

async def serve():
    application = create_app(Settings(_env_file=None), {"OPENAI_API_KEY": "x", "ANTHROPIC_API_KEY": "x"})
    async with application.router.lifespan_context(application):
        client = application.state.server.shared.models
        for handle in ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5"):
            await client.prepare(handle)

asyncio.run(serve())
print([name for name in ("sqlalchemy.dialects.postgresql", "pydantic.v1", "griffe") if sys.modules.get(name)])
"""


def test_a_server_on_sqlite_with_models_does_without(tmp_path: Path) -> None:
    environ = {"FOLKMOOT_DATABASE": f"sqlite:///{tmp_path / 'folkmoot.sqlite3'}", "FOLKMOOT_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SERVING], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_what_is_loaded_already_stays() -> None:
    code = """
import pydantic_ai
from folkmoot.models.left_out import leave_out
leave_out()
from pydantic_ai._griffe import doc_descriptions
def double(number: int) -> int:
    "Double a number."
print(doc_descriptions(double, docstring_format="google"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Double a number." in done.stdout, done.stderr
