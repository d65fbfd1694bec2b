"""Folders and files on the wire. The API calls a folder a source too, and its identifier begins so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from folkmoot.files.chunking import LONGEST
from folkmoot.files.files import File, Status
from folkmoot.files.folders import Folder, FolderUse
from folkmoot.files.open_files import AgentFile
from folkmoot.files.shown import ShownFiles
from folkmoot.identifiers import user_of
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text, moment
from folkmoot.server.wire.models import EmbeddingConfig, EmbeddingSettings
from folkmoot.store.engine import Row

FolderName = Annotated[Text, Field(min_length=1, max_length=255, pattern=r"^[^/\\\x00-\x1f]*$")]
ChunkTokens = Annotated[int, Field(ge=16, le=LONGEST // 4, description="Tokens of a chunk, about.")]


class FolderFields(Request):
    """What a creator or an owner may set besides the name."""

    description: Text | None = Field(None, description="What is in it; agents read it.")
    instructions: Text | None = Field(None, description="How to use it; agents read it.")
    metadata: JsonObject | None = None
    embedding_config: EmbeddingSettings | None = None


class CreateFolder(FolderFields):
    """A new folder."""

    name: FolderName
    embedding: Text | None = Field(None, description="Handle of the embedding model; not needed.")
    embedding_chunk_size: ChunkTokens | None = None

    def fields(self) -> dict[str, Any]:
        """Return what the folder shall be."""
        config = _config(self.embedding_config)
        if self.embedding_chunk_size is not None:
            config["embedding_chunk_size"] = self.embedding_chunk_size
        embedding = self.embedding or config.get("handle")
        named = self.model_dump(include={"name", "description", "instructions", "metadata"})
        return named | {"embedding": embedding, "embedding_config": config}


class UpdateFolder(FolderFields):
    """Changes to a folder; what is left out stays as it is."""

    name: FolderName | None = None
    embedding: Text | None = Field(None, description="Handle of the embedding model; another one embeds all anew.")

    def changes(self) -> dict[str, Any]:
        """Return only what the request named."""
        changes = self.model_dump(exclude_unset=True)
        if changes.get("name", "") is None:
            del changes["name"]
        if "embedding_config" in changes:
            changes["embedding_config"] = _config(self.embedding_config)
            changes.setdefault("embedding", changes["embedding_config"].get("handle"))
        return changes


def _config(settings: EmbeddingSettings | None) -> dict[str, Any]:
    return {} if settings is None else settings.model_dump(exclude_unset=True, exclude_none=True)


class FolderReply(Reply):
    """A folder."""

    name: str
    description: str | None
    instructions: str | None
    metadata: dict[str, Any] | None
    id: str
    embedding_config: EmbeddingConfig
    organization_id: str
    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, folder: Folder) -> FolderReply:
        """Show a folder."""
        return cls(**_shown(folder))


class SourceReply(FolderReply):
    """A folder under its older name."""

    vector_db_provider: str = "native"

    @classmethod
    def of(cls, folder: Folder) -> SourceReply:
        """Show a folder."""
        return cls(**_shown(folder))


def _shown(folder: Folder) -> dict[str, Any]:
    user = user_of(folder.organization_id)
    return {
        "name": folder.name,
        "description": folder.description,
        "instructions": folder.instructions,
        "metadata": None if folder.metadata is None else dict(folder.metadata),
        "id": folder.id,
        "embedding_config": _embedding_config(folder),
        "organization_id": folder.organization_id,
        "created_by_id": user,
        "last_updated_by_id": user,
        "created_at": moment(folder.created_at),
        "updated_at": moment(folder.updated_at),
    }


def _embedding_config(folder: Folder) -> EmbeddingConfig:
    known = {name: value for name, value in folder.embedding_config.items() if name in EmbeddingConfig.model_fields}
    if folder.embedding:
        known = {"embedding_model": folder.embedding.partition("/")[2], "handle": folder.embedding} | known
    return EmbeddingConfig(**known)


class FileReply(Reply):
    """A file. `version` is Folkmoot's own: of the text that is shown, 0 before the first upload was read."""

    source_id: str
    file_name: str
    original_file_name: str
    file_path: str | None = None
    file_type: str
    file_size: int
    file_creation_date: str | None = None
    file_last_modified_date: str | None = None
    processing_status: Status
    error_message: str | None
    total_chunks: int | None
    chunks_embedded: int | None
    content: str | None
    id: str
    organization_id: str
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, file: File, content: str | None = None, *, with_folder: bool = False) -> FileReply:
        """Show a file, with its text where that was asked for.

        Args:
            file: which one.
            content: its text.
            with_folder: whether it is called by its path; a folder's own list has the bare names.
        """
        return cls.model_construct(
            source_id=file.folder_id,
            file_name=file.path if with_folder else file.name,
            original_file_name=file.original_name,
            file_path=None,
            file_type=file.media_type,
            file_size=file.size,
            file_creation_date=None,
            file_last_modified_date=None,
            processing_status=file.status,
            error_message=file.error,
            total_chunks=file.chunks,
            chunks_embedded=file.chunks_embedded,
            content=content,
            id=file.id,
            organization_id=file.organization_id,
            created_at=moment(file.created_at),
            updated_at=moment(file.updated_at),
            version=file.version,
        )


class FolderPassageReply(Reply):
    """A chunk of a file, as the API knows passages; lines and heading are Folkmoot's own."""

    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime
    is_deleted: bool = False
    organization_id: str
    archive_id: str | None = None
    source_id: str
    file_id: str
    file_name: str
    metadata: dict[str, Any] = {}
    tags: list[str] | None = None
    id: str
    text: str
    embedding: list[float] | None = None
    embedding_config: EmbeddingConfig
    first_line: int
    last_line: int
    heading: str | None

    @classmethod
    def of(cls, row: Row, folder: Folder) -> FolderPassageReply:
        """Show a chunk's row, which has its file's name, of a folder."""
        user, created = user_of(folder.organization_id), moment(row["created_at"])
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=created,
            updated_at=created,
            organization_id=folder.organization_id,
            source_id=folder.id,
            file_id=row["file_id"],
            file_name=f"{folder.name}/{row['file_name']}",
            id=row["id"],
            text=row["text"],
            embedding_config=_embedding_config(folder),
            first_line=row["first_line"],
            last_line=row["last_line"],
            heading=row["heading"],
        )


class FileStats(Reply):
    """A file, and the bytes that were uploaded for it."""

    file_id: str
    file_name: str
    file_size: int


class FolderStats(Reply):
    """A folder, and what it holds."""

    source_id: str
    source_name: str
    file_count: int
    total_size: int
    files: list[FileStats]


class FoldersStats(Reply):
    """What all folders hold."""

    total_sources: int
    total_files: int
    total_size: int
    sources: list[FolderStats]

    @classmethod
    def of(cls, uses: Sequence[FolderUse], files: Mapping[str, Sequence[File]]) -> FoldersStats:
        """Show what folders hold, with those of their files that are given by folder."""
        return cls(
            total_sources=len(uses),
            total_files=sum(use.files for use in uses),
            total_size=sum(use.size for use in uses),
            sources=[
                FolderStats(
                    source_id=use.folder.id,
                    source_name=use.folder.name,
                    file_count=use.files,
                    total_size=use.size,
                    files=[
                        FileStats(file_id=file.id, file_name=file.name, file_size=file.size)
                        for file in files.get(use.folder.id, ())
                    ],
                )
                for use in uses
            ],
        )


class AgentFileReply(Reply):
    """A file as an agent has it; `version` is Folkmoot's own."""

    id: str
    file_id: str
    file_name: str
    folder_id: str
    folder_name: str
    is_open: bool
    last_accessed_at: datetime | None
    visible_content: str | None
    start_line: int | None
    end_line: int | None
    version: int

    @classmethod
    def of(cls, held: AgentFile, visible: str | None) -> AgentFileReply:
        """Show a file with what the agent is shown of it; None of a closed one."""
        return cls.model_construct(
            id=held.id,
            file_id=held.file.id,
            file_name=held.file.path,
            folder_id=held.file.folder_id,
            folder_name=held.file.folder_name,
            is_open=held.is_open,
            last_accessed_at=None if held.accessed_at is None else moment(held.accessed_at),
            visible_content=visible,
            start_line=held.first_line,
            end_line=held.last_line,
            version=held.file.version,
        )


class FileBlockReply(Reply):
    """A file as the API knows it among an agent's blocks; nobody edits it as one."""

    value: str
    limit: int
    project_id: str | None = None
    template_name: str | None = None
    is_template: bool = False
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserve_on_migration: bool = False
    label: str
    read_only: bool = True
    description: str | None = None
    metadata: dict[str, Any] = {}
    hidden: bool | None = None
    id: str
    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    tags: list[str] = []
    file_id: str
    source_id: str
    is_open: bool
    last_accessed_at: datetime | None

    @classmethod
    def all_of(cls, shown: ShownFiles) -> list[FileBlockReply]:
        """Show files with what an agent is shown of them."""
        return [
            cls(
                value=each.text,
                limit=shown.limits.view_characters,
                label=each.held.file.path,
                id=f"block-{each.held.id.removeprefix('file_agent-')}",
                file_id=each.held.file.id,
                source_id=each.held.file.folder_id,
                is_open=each.held.is_open,
                last_accessed_at=None if each.held.accessed_at is None else moment(each.held.accessed_at),
            )
            for each in shown.files
        ]


class AgentFilesReply(Reply):
    """A page of an agent's files."""

    files: list[AgentFileReply]
    next_cursor: str | None
    has_more: bool
