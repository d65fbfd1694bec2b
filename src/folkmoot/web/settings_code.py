"""The API calls behind settings: an agent's, a block's, the server's."""

from __future__ import annotations

from folkmoot.web.code import Call, literal


def agent_settings_calls(agent_id: str, model: str) -> list[Call]:
    """Return the calls behind an agent's settings."""
    path, id_ = f"/v1/agents/{agent_id}", literal(agent_id)
    rule = {"type": "run_first", "tool_name": "conversation_search"}
    compaction = {"mode": "sliding_window", "sliding_window_percentage": 0.3}
    return [
        Call("Read them", "GET", path, f"client.agents.retrieve({id_})"),
        Call("Change its system prompt", "PATCH", path, f'client.agents.update({id_}, system="…")', {"system": "…"}),
        _check(model),
        Call("Give it rules for its tools", "PATCH", path, f"client.agents.update({id_}, tool_rules=[{rule}])",
             {"tool_rules": [rule]}),
        Call("Say how its context is kept small", "PATCH", path,
             f"client.agents.update({id_}, compaction_settings={compaction})", {"compaction_settings": compaction}),
        Call("Let another agent tend its memory", "PATCH", path,
             f"client.agents.update({id_}, enable_sleeptime=True)", {"enable_sleeptime": True}),
        Call("Set all its secrets", "PATCH", path, f'client.agents.update({id_}, secrets={{"WEATHER_KEY": "…"}})',
             {"secrets": {"WEATHER_KEY": "…"}}),
        Call("Give it a tool", "PATCH", f"{path}/tools/attach/tool-…",
             f'client.agents.tools.attach("tool-…", agent_id={id_})'),
        Call("Delete it", "DELETE", path, f"client.agents.delete({id_})"),
    ]  # fmt: skip


def block_settings_calls(block_id: str) -> list[Call]:
    """Return the calls behind a block's settings."""
    path, id_ = f"/v1/blocks/{block_id}", literal(block_id)
    return [
        Call("Read them", "GET", path, f"client.blocks.retrieve({id_})"),
        Call("Change them", "PATCH", path, f"client.blocks.update({id_}, limit=8000, read_only=True)",
             {"limit": 8000, "read_only": True}),
        Call("Let its text be overwritten only with a version", "PATCH", path,
             f'client.blocks.update({id_}, extra_body={{"require_version": True}})', {"require_version": True}),
    ]  # fmt: skip


def settings_calls(model: str) -> list[Call]:
    """Return the calls behind the server's settings."""
    provider = {"name": "mine", "provider_type": "openai", "api_key": "…"}
    return [
        Call("List models", "GET", "/v1/models", "for model in client.models.list():\n    print(model.handle)"),
        _check(model),
        Call("List the providers that were added", "GET", "/v1/providers",
             'client.get("/v1/providers", cast_to=object)'),
        Call("Add one", "POST", "/v1/providers",
             f'client.post("/v1/providers", cast_to=object, body={provider})', provider),
        Call("See whether its key is taken", "POST", "/v1/providers/provider-…/check",
             'client.post("/v1/providers/provider-…/check", cast_to=object)'),
        Call("Remove it", "DELETE", "/v1/providers/provider-…",
             'client.delete("/v1/providers/provider-…", cast_to=object)'),
        Call("Take a backup of the whole server", "POST", "/v1/backup",
             'import httpx\nopen("a.folkmoot", "wb").write(client.post("/v1/backup", cast_to=httpx.Response).content)'),
        Call("What the server can do", "GET", "/v1/ready", 'client.get("/v1/ready", cast_to=object)'),
    ]  # fmt: skip


def _check(model: str) -> Call:
    body = {"handle": model}
    python = f"client.post('/v1/models/check', cast_to=object, body={{'handle': {literal(model)}}})"
    return Call("Ask a model whether it is there", "POST", "/v1/models/check", python, body)
