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
print([name for name in ("pydantic.v1",) if sys.modules.get(name)])
"""


def test_a_server_on_sqlite_with_models_does_without(tmp_path: Path) -> None:
    environ = {"FOLKMOOT_DATABASE": f"sqlite:///{tmp_path / 'folkmoot.sqlite3'}", "FOLKMOOT_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SERVING], env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
