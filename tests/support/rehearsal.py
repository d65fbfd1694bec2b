"""One server's life, led in the process that is forked, so that no fork has to do for the first time what it does here.

What is made once in a process's life, and is the same in each, is half of what a short-lived server costs: modules that
are imported when they are needed, statements that are compiled, types that are built when they are first read.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from folkmoot.application import create_app
from folkmoot.settings import Settings
from folkmoot.store import postgres, sqlite_transaction
from support.scripted_model import ScriptedModel

MODELS = ("openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5")
PAGES = ("/", "/blocks", "/agents", "/folders", "/archives", "/tools", "/runs", "/activity", "/members", "/settings")
INSERT = 'CALL memory_insert {"label": "human", "new_string": "x"}'


def rehearse() -> None:
    """Lead the life; no thread and no event loop is left behind."""
    with TemporaryDirectory() as folder, ScriptedModel() as model:
        asyncio.run(_serve(Path(folder), model.base_url))
    for organization_id, compiled in (
        ("org", sqlite_transaction.STATEMENTS._scoped),
        (None, sqlite_transaction.STATEMENTS._wide),
    ):
        for statement in list(compiled):
            with suppress(KeyError):  # there is no value for its parameters; it is compiled by then
                postgres.STATEMENTS.text(statement, {}, organization_id)


async def _serve(folder: Path, model_url: str) -> None:
    settings = Settings(database=f"sqlite:///{folder / 'folkmoot.sqlite3'}", data=folder, tool_sandbox="off")
    environ = {f"{name}_API_KEY": "scripted" for name in ("OPENAI", "ANTHROPIC")}
    environ |= {f"{name}_BASE_URL": model_url for name in ("OPENAI", "ANTHROPIC")}
    application = create_app(settings, environ)
    transport = httpx.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        for model in MODELS:
            blocks = [{"label": "human", "value": ""}]
            made = await client.post("/v1/agents/", json={"model": model, "memory_blocks": blocks})
            agent = made.raise_for_status().json()
            messages = f"/v1/agents/{agent['id']}/messages"
            for path, text in ((messages, INSERT), (f"{messages}/stream", "hi")):
                asked = {"messages": [{"role": "user", "content": text}], "stream_tokens": True}
                (await client.post(path, json=asked)).raise_for_status()
        block = agent["blocks"][0]["id"]
        for page in (*PAGES, f"/agents/{agent['id']}", f"/agents/{agent['id']}/settings", f"/blocks/{block}"):
            (await client.get(page)).raise_for_status()
