"""Scoped tokens, for programs in browsers: each reaches the agents that its policy names, and no more of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from folkmoot.access.keys import Key, create_token, delete_token, list_tokens
from folkmoot.agents.agents import find_agent
from folkmoot.server.state import State
from folkmoot.server.wire.access import CreateToken, TokenReply, TokensReply
from folkmoot.server.wire.common import json_response
from folkmoot.store import clock
from folkmoot.store.engine import Transaction

router = APIRouter(prefix="/v1/client-side-access-tokens", tags=["client-side-access-tokens"])

LASTS = 300_000_000
"""Microseconds that a token lasts when its creator does not say."""


@router.post("", response_model=TokenReply, status_code=201)
async def create(body: CreateToken, state: State) -> Response:
    """Make a scoped token; it is shown this once."""
    expires_at = clock.from_datetime(body.expires_at) if body.expires_at is not None else clock.now() + LASTS
    policy = body.to_policy()

    async def make(transaction: Transaction) -> tuple[Key, str]:
        for agent_id in policy.agents:
            await find_agent(transaction, agent_id)
        return await create_token(transaction, policy, expires_at, state.principal.name)

    response = json_response(TokenReply.of(*await state.store.write(make)), {"Cache-Control": "no-store"})
    response.status_code = 201
    return response


@router.get("", response_model=TokensReply)
async def list_all(
    state: State,
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    offset: Annotated[float, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[float, Query(ge=1, le=1000)] = 10,
) -> Response:
    """List the tokens that are not over, the newest first, by their identifiers."""
    tokens = await state.store.read(list_tokens)
    wanted = [each for each in tokens if agent_id is None or (each.policy and agent_id in each.policy.agents)]
    start, end = int(offset), int(offset) + int(limit)
    shown = [TokenReply.of(each) for each in wanted[start:end]]
    return json_response(TokensReply(tokens=shown, hasNextPage=len(wanted) > end))


@router.delete("/{token}", status_code=204)
async def delete(token: str, state: State) -> Response:
    """End a token, named by itself or its identifier: the next request with it is refused, its open streams end."""
    await state.store.write(lambda transaction: delete_token(transaction, token))
    return Response(status_code=204)
