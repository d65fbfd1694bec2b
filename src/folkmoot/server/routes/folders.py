"""Folders and their files, under this name and the older one, sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response

from folkmoot.agents.deletion import remove_file, remove_folder
from folkmoot.agents.folders import agents_of_folder
from folkmoot.files.chunks import page_of_chunks, whole_texts
from folkmoot.files.files import DuplicateHandling, File, find_file, list_files
from folkmoot.files.folders import (
    Folder,
    count_folders,
    create_folder,
    find_folder,
    find_named_folder,
    folder_uses,
    list_folders,
    update_folder,
)
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.uploads import BODY, receive_upload
from folkmoot.server.wire.common import FileId, FolderId, Text, json_response, page_of
from folkmoot.server.wire.folders import (
    CreateFolder,
    FileReply,
    FolderPassageReply,
    FolderReply,
    FoldersStats,
    SourceReply,
    UpdateFolder,
)
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page

F = TypeVar("F", bound=Callable[..., Any])

OldestFirst = Annotated[Page, Depends(page_of("asc"))]
NewestFirst = Annotated[Page, Depends(page_of("desc"))]
ManyNewestFirst = Annotated[Page, Depends(page_of("desc", largest=1000))]
PassagesNewestFirst = Annotated[Page, Depends(page_of("desc", largest=100))]
Content = Annotated[bool, Query(description="Whether the file's whole text is wanted.")]


router = APIRouter(prefix="/v1/folders", tags=["folders"], route_class=BodyRoute)
sources_router = APIRouter(prefix="/v1/sources", tags=["folders"], route_class=BodyRoute)


def _route(method: str, path: str, *, source_model: Any = None, **options: Any) -> Callable[[F], F]:
    """Add a function under both names; `source_model` is the form under the older one, where it has its own."""

    def add(function: F) -> F:
        router.add_api_route(path, function, methods=[method], **options)
        older = options | ({} if source_model is None else {"response_model": source_model})
        sources_router.add_api_route(path, function, methods=[method], **older)
        return function

    return add


async def form_of(request: Request) -> type[FolderReply]:
    """Return the form in which a folder is shown under the name that it was asked for."""
    return SourceReply if request.url.path.startswith(sources_router.prefix) else FolderReply


Form = Annotated[type[FolderReply], Depends(form_of)]


@_route("POST", "", response_model=FolderReply, source_model=SourceReply)
async def create(body: CreateFolder, form: Form, state: State) -> Response:
    """Create a folder."""
    fields = body.fields()
    return json_response(form.of(await state.store.write(lambda transaction: create_folder(transaction, fields))))


@_route("GET", "", response_model=list[FolderReply], source_model=list[SourceReply])
async def list_all(page: OldestFirst, form: Form, scan: Scan, name: str | None = None) -> Response:
    """List folders."""
    return await scan(
        lambda transaction: list_folders(transaction, page, name),
        lambda found: json_response([form.of(folder) for folder in found]),
    )


@_route("GET", "/count")
async def count(scan: Scan) -> int:
    """Count folders."""
    return await scan(count_folders, int)


@_route("GET", "/metadata", response_model=FoldersStats)
async def metadata(scan: Scan, include_detailed_per_source_metadata: bool = False) -> Response:
    """Return how much each folder holds; with the details, of each file too."""

    async def read(transaction: Transaction) -> FoldersStats:
        uses = await folder_uses(transaction)
        files: dict[str, Sequence[File]] = {}
        if include_detailed_per_source_metadata:
            for use in uses:
                files[use.folder.id] = await list_files(transaction, use.folder.id, Page(1000))
        return FoldersStats.of(uses, files)

    return await scan(read, json_response)


@_route("GET", "/name/{name}")
async def find_by_name(name: str, state: State) -> str:
    """Return the identifier of the folder of that name."""
    return (await state.store.read(lambda transaction: find_named_folder(transaction, name))).id


@_route("GET", "/{folder_id}", response_model=FolderReply, source_model=SourceReply)
async def retrieve(folder_id: FolderId, form: Form, state: State) -> Response:
    """Return a folder."""
    return json_response(form.of(await state.store.read(lambda transaction: find_folder(transaction, folder_id))))


@_route("PATCH", "/{folder_id}", response_model=FolderReply, source_model=SourceReply)
async def update(folder_id: FolderId, body: UpdateFolder, form: Form, state: State) -> Response:
    """Change a folder; what is uploaded from then on goes by it, and all of its files by another embedding."""
    changes = body.changes()
    default = state.services.embeddings.usable(None)
    folder = await state.store.write(lambda transaction: update_folder(transaction, folder_id, changes, default))
    return json_response(form.of(folder))


@_route("DELETE", "/{folder_id}")
async def delete(folder_id: FolderId, state: State) -> None:
    """Delete a folder with its files; agents lose it."""
    await remove_folder(state.store, folder_id, state.author)


@_route("GET", "/{folder_id}/agents")
async def list_agents(folder_id: FolderId, page: NewestFirst, scan: Scan) -> list[str]:
    """List the identifiers of the agents that have the folder."""
    return await scan(lambda transaction: agents_of_folder(transaction, folder_id, page), list)


@_route("GET", "/{folder_id}/passages", response_model=list[FolderPassageReply])
async def list_passages(folder_id: FolderId, page: PassagesNewestFirst, scan: Scan) -> Response:
    """List the chunks of the folder's files."""

    async def read(transaction: Transaction) -> tuple[Folder, Sequence[Row]]:
        return await find_folder(transaction, folder_id), await page_of_chunks(transaction, folder_id, page)

    return await scan(read, lambda found: json_response([FolderPassageReply.of(row, found[0]) for row in found[1]]))


@_route("POST", "/{folder_id}/upload", response_model=FileReply, openapi_extra=BODY)
async def upload(
    folder_id: FolderId,
    request: Request,
    state: State,
    duplicate_handling: Annotated[
        DuplicateHandling, Query(description="What to do when the folder has a file of that name.")
    ] = "suffix",
    name: Annotated[Text | None, Query(description="What to call the file; as the form says when left out.")] = None,
) -> Response:
    """Take a file, sent as the form field `file`. It is read behind this; its status says how far that is."""
    most = state.services.settings.max_file
    file, taken = await receive_upload(request, state.store, folder_id, name, duplicate_handling, most)
    headers = {} if taken else {"X-Upload-Result": "skipped"}
    return json_response(FileReply.of(file, with_folder=True), headers)


@_route("GET", "/{folder_id}/files", response_model=list[FileReply])
async def list_of_folder(
    folder_id: FolderId, page: ManyNewestFirst, scan: Scan, include_content: Content = False
) -> Response:
    """List the folder's files; with their texts as many as fit a bound."""

    async def read(transaction: Transaction) -> list[tuple[File, str | None]]:
        await find_folder(transaction, folder_id)
        found = await list_files(transaction, folder_id, page)
        texts = await whole_texts(transaction, found) if include_content else [None] * len(found)
        return list(zip(found, texts, strict=True))

    return await scan(read, lambda found: json_response([FileReply.of(file, content) for file, content in found]))


@_route("GET", "/{folder_id}/files/{file_id}", response_model=FileReply)
async def retrieve_file(folder_id: FolderId, file_id: FileId, scan: Scan, include_content: Content = False) -> Response:
    """Return a file of the folder."""

    async def read(transaction: Transaction) -> tuple[File, str | None]:
        file = await find_file(transaction, file_id, folder_id)
        return file, (await whole_texts(transaction, [file]))[0] if include_content else None

    return await scan(read, lambda found: json_response(FileReply.of(*found)), short=not include_content)


@_route("DELETE", "/{folder_id}/{file_id}", status_code=204)
async def delete_file(folder_id: FolderId, file_id: FileId, state: State) -> Response:
    """Delete a file of the folder; agents lose it."""
    await remove_file(state.store, folder_id, file_id)
    return Response(status_code=204)
