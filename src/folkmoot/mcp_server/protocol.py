"""The door in the protocol's words: the official SDK's server, its handlers. Imported when somebody first knocks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError
from starlette.requests import Request

from folkmoot import __version__
from folkmoot.access.principals import Principal
from folkmoot.errors import FolkmootError
from folkmoot.mcp_server.endpoint import CLIENT
from folkmoot.mcp_server.lists import lists_of
from folkmoot.mcp_server.member import MOST_LISTED, Member, NotReached
from folkmoot.mcp_server.prompt import INSTRUCTIONS, PROMPT, PROMPT_DESCRIPTION, PROMPT_NAME
from folkmoot.mcp_server.resources import (
    MOST_SUBSCRIBED,
    SCHEME,
    Change,
    ListsChanged,
    Updated,
    address_of,
    changes,
    look,
    name_in,
    standing_behind,
    until_stopped,
)
from folkmoot.mcp_server.sessions import HEADER, called, session_of
from folkmoot.mcp_server.tool import DoorTool
from folkmoot.mcp_server.tools import TOOLS
from folkmoot.memory.listing import BlockEntry
from folkmoot.memory.subscriptions import Session, subscribe, unsubscribe
from folkmoot.server.errors import explain
from folkmoot.server.state import ServerState
from folkmoot.store import clock
from folkmoot.store.engine import Transaction

logger = logging.getLogger(__name__)

RESOURCE_NOT_FOUND = -32002
FAILED = "Folkmoot failed at this {}; the server's log says where."
_BY_NAME = {tool.name: tool for tool in TOOLS}

Context: TypeAlias = ServerRequestContext[Any, Any]
P = TypeVar("P")
R = TypeVar("R")


class _Server(Server[Any]):
    """The SDK's server, which tells clients of the older revisions that they hear of changed lists."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *more: Any, **named: Any
    ) -> InitializationOptions:
        """Return what a handshake answers."""
        told = notification_options or NotificationOptions(tools_changed=True, resources_changed=True)
        return super().create_initialization_options(told, *more, **named)


def make_server(stopped: asyncio.Event) -> Server[Any]:
    """Return the SDK's server with our handlers; its subscriptions end when `stopped` is set."""

    async def listen(context: Context, wanted: types.SubscriptionsListenRequestParams) -> Any:
        return await _listen(context, wanted, stopped)

    server = _Server(
        "folkmoot",
        version=__version__,
        title="Folkmoot: shared memory",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(0, "private"), "resources/list": CacheHint(0, "private")},
        on_list_tools=_in_protocol(_list_tools),
        on_call_tool=_in_protocol(_call_tool),
        on_list_resources=_in_protocol(_list_resources),
        on_list_resource_templates=_in_protocol(_list_templates),
        on_read_resource=_in_protocol(_read_resource),
        on_subscriptions_listen=_in_protocol(listen),
        on_subscribe_resource=_in_protocol(_subscribe),
        on_unsubscribe_resource=_in_protocol(_unsubscribe),
        on_list_prompts=_in_protocol(_list_prompts),
        on_get_prompt=_in_protocol(_get_prompt),
        get_tool_input_schema=lambda name: None,  # no parameter of ours stands in a header, which is what it is for
    )
    server.middleware.clear()  # spans for OpenTelemetry, which nobody exports here
    return server


def _in_protocol(handle: Callable[[Context, P], Awaitable[R]]) -> Callable[[Context, P], Awaitable[R]]:
    """Return a handler whose errors are the protocol's; of others the SDK would show a client what they say inside."""

    async def answer(context: Context, params: P) -> R:
        try:
            return await handle(context, params)
        except MCPError:
            raise
        except FolkmootError as error:
            code = types.INVALID_PARAMS if error.status < 500 else types.INTERNAL_ERROR
            raise MCPError(code, error.message) from error
        except Exception as error:
            logger.exception("The door failed at %s", handle.__name__)
            raise MCPError(types.INTERNAL_ERROR, FAILED.format("request")) from error

    return answer


def _member(context: Context) -> Member:
    """Return who sends the request that a handler answers."""
    request = context.request
    assert isinstance(request, Request)
    scope = request.scope
    server: ServerState = scope["app"].state.server
    principal: Principal = scope["principal"]
    client = context.session.client_params
    if client is not None:
        named = called(client.client_info.name, client.client_info.version)
    else:
        named = scope.get(CLIENT) or request.headers.get("user-agent", "")
    return Member(server.of(principal, named))


async def _list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    member = _member(context)
    return types.ListToolsResult(tools=[_shown(tool) for tool in TOOLS if tool.offered_to(member)])


def _shown(tool: DoorTool) -> types.Tool:
    writes = tool.effect != "reads"
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=_schema(tool),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=not writes,
            destructive_hint=tool.effect == "changes" if writes else None,
            idempotent_hint=False if writes else None,
            open_world_hint=tool.effect == "asks",
        ),
    )


def _schema(tool: DoorTool) -> dict[str, Any]:
    schema = tool.takes.model_json_schema()
    schema.pop("title")
    schema.pop("description", None)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    return schema


async def _call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Run a tool; what it refuses is its answer, for the model to read."""
    member = _member(context)
    tool = _BY_NAME.get(params.name)
    if tool is None or not tool.offered_to(member):
        raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name!r} here for this key.")

    async def report(number: int, words: str) -> None:
        await context.session.report_progress(number, message=words)

    try:
        answer = await tool.run(member, tool.takes.model_validate(params.arguments or {}), report)
    except ValidationError as error:
        return _refused(explain(error.errors()).message)
    except FolkmootError as error:
        return _refused(error.message, {name: value for name, value in error.extra.items() if name != "value"})
    except Exception:
        logger.exception("The tool %s of the door failed", tool.name)
        return _refused(FAILED.format("call"))
    text = types.TextContent(text=answer.text)
    return types.CallToolResult(content=[text], structured_content=dict(answer.data) or None)


def _refused(message: str, data: Mapping[str, Any] | None = None) -> types.CallToolResult:
    text = types.TextContent(text=message)
    return types.CallToolResult(content=[text], structured_content=dict(data) if data else None, is_error=True)


async def _list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    member = _member(context)
    after = params.cursor if params is not None else None
    blocks = await member.state.store.read(lambda transaction: member.blocks(transaction, after=after))
    more = blocks[-1].id if len(blocks) == MOST_LISTED else None
    return types.ListResourcesResult(resources=[_resource(block) for block in blocks], next_cursor=more)


def _resource(block: BlockEntry) -> types.Resource:
    changed: datetime = clock.to_datetime(block.updated_at)
    return types.Resource(
        uri=address_of(block),
        name=block.label,
        description=block.description,
        mime_type="text/plain",
        annotations=types.Annotations(last_modified=changed.isoformat().replace("+00:00", "Z")),
    )


async def _list_templates(
    context: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template=SCHEME + "{label}",
        name="block",
        title="A block of shared memory",
        description="The text of a block, by its label.",
        mime_type="text/plain",
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def _read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    member = _member(context)
    try:
        block = await member.state.store.read(lambda transaction: member.block(transaction, name_in(str(params.uri))))
    except NotReached as error:
        modern = context.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS
        code = types.INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
        raise MCPError(code, error.message, {"uri": str(params.uri)}) from error
    content = types.TextResourceContents(uri=str(params.uri), mime_type="text/plain", text=block.value)
    return types.ReadResourceResult(contents=[content])


def _session(context: Context, member: Member) -> Session:
    session_id = context.request.headers.get(HEADER) if context.request is not None else None
    if session_id is None:
        raise MCPError(types.INVALID_REQUEST, f"Subscribing needs the session that initialize gave: {HEADER}.")
    return session_of(member, session_id)


def _subscriber(context: Context) -> Member:
    """Return who subscribes; a key that is lent for one errand is gone before anything changes."""
    member = _member(context)
    if member.state.errand is not None:
        raise MCPError(types.INVALID_REQUEST, "A key that is lent for one errand cannot subscribe to anything.")
    return member


async def _subscribe(context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    member = _subscriber(context)
    session = _session(context, member)

    async def keep(transaction: Transaction) -> None:
        await subscribe(transaction, session, await standing_behind(member, transaction, str(params.uri)))

    try:
        await member.state.store.write(keep)
    except FolkmootError as error:
        code = RESOURCE_NOT_FOUND if isinstance(error, NotReached) else types.INVALID_PARAMS
        raise MCPError(code, error.message, {"uri": str(params.uri)}) from error
    return types.EmptyResult()


async def _unsubscribe(context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    member = _member(context)
    session = _session(context, member)
    await member.state.store.write(lambda transaction: unsubscribe(transaction, session, str(params.uri)))
    return types.EmptyResult()


async def _listen(context: Context, params: types.SubscriptionsListenRequestParams, stopped: asyncio.Event) -> Any:
    """Tell a client what changes, until it leaves, its key is over or the server stops."""
    member, wanted, request_id = _subscriber(context), params.notifications, context.request_id
    addresses = list(dict.fromkeys(str(each) for each in wanted.resource_subscriptions or ()))
    if len(addresses) > MOST_SUBSCRIBED:
        raise MCPError(types.INVALID_PARAMS, f"resourceSubscriptions: more than {MOST_SUBSCRIBED} resources.")
    scoped = member.state.principal.grants is not None
    honored = types.SubscriptionFilter(
        resource_subscriptions=addresses or None,
        tools_list_changed=(scoped and wanted.tools_list_changed) or None,
        resources_list_changed=(scoped and wanted.resources_list_changed) or None,
    )
    meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request_id}
    lists_wanted = honored.tools_list_changed or honored.resources_list_changed
    seen = await look(member, addresses)  # before the client may rely on being told
    listed = await lists_of(member) if lists_wanted else None
    acknowledged = types.SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
    await context.session.send_notification(
        types.SubscriptionsAcknowledgedNotification(params=acknowledged), related_request_id=request_id
    )
    async with (
        aclosing(changes(member, seen, listed=listed)) as all_changes,  # type: ignore[type-var]
        aclosing(until_stopped(all_changes, stopped)) as some,  # type: ignore[type-var]
    ):
        async for change in some:
            for notification in _notifications(change, honored, meta):
                await context.session.send_notification(notification, related_request_id=request_id)
    return types.SubscriptionsListenResult(_meta=meta)


def _notifications(
    change: Change, honored: types.SubscriptionFilter, meta: dict[str, Any]
) -> Iterator[types.ServerNotification]:
    """Yield what a client is told of a change, as far as it wants to know."""
    match change:
        case Updated(address):
            updated = types.ResourceUpdatedNotificationParams(uri=address, _meta=meta)
            yield types.ResourceUpdatedNotification(params=updated)
        case ListsChanged(tools, resources):
            params = types.NotificationParams(_meta=meta)
            if tools and honored.tools_list_changed:
                yield types.ToolListChangedNotification(params=params)
            if resources and honored.resources_list_changed:
                yield types.ResourceListChangedNotification(params=params)


async def _list_prompts(context: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    prompt = types.Prompt(name=PROMPT_NAME, title="Work with shared memory", description=PROMPT_DESCRIPTION)
    return types.ListPromptsResult(prompts=[prompt])


async def _get_prompt(context: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    if params.name != PROMPT_NAME:
        raise MCPError(types.INVALID_PARAMS, f"There is no prompt {params.name!r}; there is {PROMPT_NAME!r}.")
    message = types.PromptMessage(role="user", content=types.TextContent(text=PROMPT))
    return types.GetPromptResult(description=PROMPT_DESCRIPTION, messages=[message])
