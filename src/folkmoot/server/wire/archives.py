"""Archives and passages on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from folkmoot.archives.archives import Archive
from folkmoot.archives.passages import LONGEST_TEXT, DeletedPassage, NewPassage, Passage, PassageFilter
from folkmoot.archives.search import LONGEST_QUERY, FoundPassage, Mode
from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.identifiers import user_of
from folkmoot.memory.attachments import Access
from folkmoot.models.embeddings import handle_in
from folkmoot.server.wire.blocks import AuthorReply
from folkmoot.server.wire.common import (
    MOST_ITEMS,
    AgentId,
    ArchiveId,
    JsonObject,
    Reply,
    Request,
    Tag,
    Text,
    moment,
)
from folkmoot.server.wire.models import EmbeddingConfig, EmbeddingSettings
from folkmoot.store import clock

MOST_TAGS = 100
"""Tags of a passage."""

PassageText = Annotated[Text, Field(min_length=1, max_length=LONGEST_TEXT)]
Tags = Annotated[list[Annotated[Tag, Field(min_length=1)]], Field(max_length=MOST_TAGS)]
Name = Annotated[Text, Field(min_length=1, max_length=300)]
Description = Annotated[Text, Field(max_length=10_000)]
Query = Annotated[Text, Field(max_length=LONGEST_QUERY)]


class ArchiveFields(Request):
    """What a creator or an owner may set besides the name."""

    description: Description | None = Field(None, description="What it is for; agents read it.")
    metadata: JsonObject | None = None
    embedding: Text | None = Field(
        None, description="Handle of the model that its passages are embedded with; null to search by words only."
    )
    embedding_config: EmbeddingSettings | None = None

    @property
    def named_embedding(self) -> str | None:
        """The handle that the request names, in either form."""
        return self.embedding or handle_in(self.config)

    @property
    def config(self) -> Mapping[str, Any]:
        """What the request says of the embedding model beside its handle."""
        return self.embedding_config.model_dump(exclude_unset=True) if self.embedding_config is not None else {}


class CreateArchive(ArchiveFields):
    """A new archive."""

    name: Name


class UpdateArchive(ArchiveFields):
    """Changes to an archive; what is left out stays as it is."""

    name: Name | None = None

    @property
    def names_embedding(self) -> bool:
        """Whether the request says with what it is embedded."""
        return bool({"embedding", "embedding_config"} & self.model_fields_set)

    def changes(self) -> dict[str, Any]:
        """Return what is to change, but for the embedding, whose handle has to be looked at."""
        return {
            name: getattr(self, name)
            for name in ("name", "description", "metadata")
            if name in self.model_fields_set and (name != "name" or self.name is not None)
        }


class AttachArchive(Request):
    """How an agent is given an archive."""

    access: Access | None = Field(None, description="`write`, `append` (add only) or `read` (search only).")


class ArchiveReply(Reply):
    """An archive; the fields behind `id` are Folkmoot's own."""

    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime
    name: str
    description: str | None
    organization_id: str
    vector_db_provider: Literal["native"] = "native"
    embedding_config: EmbeddingConfig | None
    metadata: dict[str, Any] | None
    id: str
    embedding: str | None
    passage_count: int
    access: Access | None = Field(None, description="What the agent may do with it whose archives are listed.")
    embedded_count: int | None = Field(
        None, description="Passages that the embedding was seen to for; null in lists, and without an embedding."
    )

    @classmethod
    def of(cls, archive: Archive, *, embedded: int | None = None, access: Access | None = None) -> ArchiveReply:
        """Show an archive."""
        user = user_of(archive.organization_id)
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=moment(archive.created_at),
            updated_at=moment(archive.updated_at),
            name=archive.name,
            description=archive.description,
            organization_id=archive.organization_id,
            embedding_config=embedding_config_of(archive),
            metadata=dict(archive.metadata) or None,
            id=archive.id,
            embedding=archive.embedding,
            passage_count=archive.passage_count,
            access=access,
            embedded_count=embedded,
        )


def embedding_config_of(archive: Archive) -> EmbeddingConfig | None:
    """Return the older form of an archive's embedding; None when it has none."""
    if archive.embedding is None:
        return None
    given = archive.embedding_config
    known = {name: given[name] for name in EmbeddingConfig.model_fields if given.get(name) is not None}
    named = {"embedding_model": archive.embedding.partition("/")[2], "handle": archive.embedding}
    return EmbeddingConfig(**{**known, **named})


class CreatePassage(Request):
    """A new passage."""

    text: PassageText
    tags: Tags | None = None
    metadata: JsonObject | None = None
    created_at: Text | None = Field(None, description="When it is from, in ISO 8601; now when left out.")

    @field_validator("text")
    @classmethod
    def _has_words(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("is empty; a passage needs text")
        return text

    def to_passage(self) -> NewPassage:
        """Return what is to be kept.

        Raises:
            BadRequest: `created_at` is no time.
        """
        try:
            at = shown_time("created_at", self.created_at)
        except InvalidInput as error:
            raise BadRequest(error.message) from error
        return NewPassage.of(self.text, self.tags or (), self.metadata, at)


class CreatePassages(Request):
    """Several new passages, of which all are kept or none."""

    passages: list[CreatePassage] = Field(max_length=MOST_ITEMS)


class PassageReply(Reply):
    """A passage; the fields behind `embedding_config` are Folkmoot's own."""

    created_by_id: str
    last_updated_by_id: str
    created_at: datetime
    updated_at: datetime
    is_deleted: bool = False
    organization_id: str
    archive_id: str | None
    source_id: str | None = None
    file_id: str | None = None
    file_name: str | None = None
    metadata: dict[str, Any]
    tags: list[str] | None
    id: str
    text: str
    embedding: list[float] | None = Field(None, description="Always null: vectors stay in the database.")
    embedding_config: EmbeddingConfig | None = None
    author: AuthorReply
    embedding_error: str | None = Field(
        None, description="Why it is found by its words only, although its archive has an embedding."
    )

    @classmethod
    def of(cls, passage: Passage, config: EmbeddingConfig | None = None) -> PassageReply:
        """Show a passage of an archive whose embedding is `config`."""
        user = user_of(passage.organization_id)
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=moment(passage.created_at),
            updated_at=moment(passage.stored_at),
            organization_id=passage.organization_id,
            archive_id=passage.archive_id,
            metadata=dict(passage.metadata),
            tags=list(passage.tags) or None,
            id=passage.id,
            text=passage.text,
            embedding_config=config,
            author=AuthorReply.of(passage.author),
            embedding_error=passage.embedding_error,
        )


class DeletedPassageReply(Reply):
    """That a passage was deleted; not what it said."""

    id: str
    author: AuthorReply
    deleted_by: AuthorReply
    created_at: datetime
    deleted_at: datetime

    @classmethod
    def of(cls, deleted: DeletedPassage) -> DeletedPassageReply:
        """Show a deletion."""
        return cls(
            id=deleted.id,
            author=AuthorReply.of(deleted.author),
            deleted_by=AuthorReply.of(deleted.deleted_by),
            created_at=moment(deleted.created_at),
            deleted_at=moment(deleted.deleted_at),
        )


class SearchPassages(Request):
    """What is looked for, among what, and how."""

    query: Query | None = Field(None, description="Without one, the oldest passages.")
    agent_id: AgentId | None = None
    archive_id: ArchiveId | None = None
    tags: Tags | None = None
    tag_match_mode: Literal["any", "all"] = "any"
    limit: int = Field(50, ge=1, le=100)
    start_date: datetime | None = None
    end_date: datetime | None = None
    author: Text | None = Field(None, description="Identifier or name of who wrote it.")
    search_mode: Mode = Field("hybrid", description="By words, by meaning, or by both where an embedding is there.")

    def among(self, archive_ids: Sequence[str] | None) -> PassageFilter:
        """Return which passages are looked through, of these archives."""
        return PassageFilter(
            archive_ids=archive_ids,
            tags=self.tags or (),
            match_all_tags=self.tag_match_mode == "all",
            start=None if self.start_date is None else clock.from_datetime(self.start_date),
            end=None if self.end_date is None else clock.from_datetime(self.end_date),
            author=self.author,
        )


class RankedReply(Reply):
    """Why a passage was found; ranks count from 1, and null is the ranking that does not have it."""

    text_rank: int | None
    text_score: float | None
    vector_rank: int | None
    similarity: float | None = Field(description="The cosine between the query's vector and the passage's.")
    words: list[str] = Field(description="Words of the query that it has.")

    @classmethod
    def of(cls, found: FoundPassage) -> RankedReply:
        """Show why a passage was found."""
        return cls(
            text_rank=found.text_rank,
            text_score=found.text_score,
            vector_rank=found.vector_rank,
            similarity=found.similarity,
            words=list(found.words),
        )


class FoundPassageReply(Reply):
    """A passage that was found, its score, and in `metadata` what that comes from."""

    passage: PassageReply
    score: float
    metadata: dict[str, Any]


class ArchivalResult(Reply):
    """A passage that was found in an agent's archives; `score` and what follows are Folkmoot's own."""

    id: str
    timestamp: str
    content: str
    tags: list[str]
    score: float
    why: RankedReply
    archive_id: str
    author: AuthorReply

    @classmethod
    def of(cls, found: FoundPassage) -> ArchivalResult:
        """Show a passage that was found."""
        passage = found.passage
        return cls(
            id=passage.id,
            timestamp=moment(passage.created_at).isoformat(),
            content=passage.text,
            tags=list(passage.tags),
            score=found.score,
            why=RankedReply.of(found),
            archive_id=passage.archive_id,
            author=AuthorReply.of(passage.author),
        )


class ArchivalResults(Reply):
    """What a search of an agent's archives found, the best first."""

    results: list[ArchivalResult]
    count: int
    without_meaning: str | None = Field(
        None, description="Why it was searched by words only, where it might have been by meaning too."
    )


def shown_time(name: str, value: str | None) -> int | None:
    """Return a day or time of a query as a stored time.

    Raises:
        InvalidInput: it is neither.
    """
    if value is None:
        return None
    try:
        return clock.from_datetime(datetime.fromisoformat(value))
    except (ValueError, OverflowError) as error:
        shown = value[:80]
        raise InvalidInput(f"{name}: {shown!r} is not a date; write it as 2026-11-22 or 2026-11-22T14:30.") from error
