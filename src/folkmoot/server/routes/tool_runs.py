"""Running tools because somebody asks for it, outside of turns."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Response

from folkmoot.agents.tool_runs import run_tool
from folkmoot.errors import ToolFailed
from folkmoot.sandbox.requirements import Kind
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.messages import ToolReturnMessage, show_unsaid_return
from folkmoot.server.wire.tools import RunSource, RunTool, ToolRunReply
from folkmoot.tools.custom.custom_tool import run_source
from folkmoot.tools.custom.given import parameters_of
from folkmoot.tools.custom.languages import describe_tool, in_turn
from folkmoot.tools.custom.making import language_of
from folkmoot.tools.custom.packages import Packages, packages_of
from folkmoot.tools.custom.running import Program, Returned
from folkmoot.tools.pictures import stored_picture

router = APIRouter(tags=["tools"], route_class=BodyRoute)


@router.post("/v1/tools/run", response_model=ToolReturnMessage)
async def run_from_source(body: RunSource, state: State, scan: Scan) -> Response:
    """Run source code as a tool once, behind walls; nothing is stored. Whatever the code does, the status is 200."""
    returned, name = await scan.while_here(_run(body, state))
    return json_response(
        show_unsaid_return(
            body.name or name,
            returned.text,
            returned.error is not None,
            returned.stdout,
            returned.stderr,
            [stored_picture(picture) for picture in returned.pictures],
        )
    )


async def _run(body: RunSource, state: ServerState) -> tuple[Returned, str]:
    language, wanted = language_of(body.source_type), body.name or (body.json_schema or {}).get("name")
    function, _ = await in_turn(describe_tool, language, body.source_code, wanted)
    described = parameters_of(body.args_json_schema)["properties"] if body.args_json_schema else {}
    kind: Kind = "pip" if language == "python" else "npm"
    asked = body.pip_requirements if language == "python" else body.npm_requirements
    packages = Packages(language, packages_of(kind, [each.model_dump() for each in asked or ()]))
    program = Program(body.source_code, function, body.name or function, described, packages)
    services, seconds = state.services, state.services.settings.tool_timeout
    try:
        async with asyncio.timeout(seconds):
            return await run_source(program, body.args, body.env_vars, services), function
    except ToolFailed as error:
        return Returned(error=error.message), function
    except TimeoutError:
        return Returned(error=f"{program.name} did not finish within {seconds:g} seconds and was stopped."), function


@router.post("/v1/agents/{agent_id}/tools/{tool_name}/run", response_model=ToolRunReply)
async def run_of_agent(
    agent_id: AgentId, tool_name: str, state: State, scan: Scan, body: RunTool | None = None
) -> Response:
    """Run a tool that the agent has, as the agent would; its rules do not matter. What fails has the status 200 too."""
    arguments: dict[str, Any] = body.args if body is not None else {}
    running = run_tool(state.services, state.runs.messenger, agent_id, tool_name, arguments)
    return json_response(ToolRunReply.of(await scan.while_here(running)))
