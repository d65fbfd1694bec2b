"""Archives of passages, their vectors, and which agent has which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from folkmoot.store import postgres, sqlite

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_VECTOR = sa.LargeBinary().with_variant(postgresql.ARRAY(sa.REAL()), "postgresql")


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "archives",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column(
            "embedding",
            sa.Text(),
            nullable=True,
            comment="handle of the model that its passages are embedded with; NULL for none",
        ),
        sa.Column("embedding_version", sa.Integer(), nullable=False, comment="how often that has changed"),
        sa.Column("searched_embedding", sa.Text(), nullable=True, comment="the one whose vectors are searched"),
        sa.Column("searched_version", sa.Integer(), nullable=False),
        sa.Column("passage_count", sa.Integer(), nullable=False),
        sa.Column(
            "configuration", sa.Text(), nullable=False, comment="JSON: metadata, what was said of the embedding model"
        ),
        sa.Column("made_for", sa.Text(), nullable=True, comment="the agent that it was made for by itself"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("archives_by_age", "archives", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "archives_by_agent",
        "archives",
        ["organization_id", "made_for"],
        unique=False,
        sqlite_where=sa.text("made_for IS NOT NULL"),
        postgresql_where=sa.text("made_for IS NOT NULL"),
    )
    op.create_index("archives_by_name", "archives", ["organization_id", "name", "created_at", "id"], unique=False)
    op.create_table(
        "agent_archives",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False, comment="write, append or read"),
        sa.Column("attached_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "archive_id"),
    )
    op.create_index(
        "agent_archives_by_archive", "agent_archives", ["organization_id", "archive_id", "agent_id"], unique=False
    )
    op.create_table(
        "archive_tags",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False, comment="passages that have it"),
        sa.ForeignKeyConstraint(
            ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "archive_id", "tag"),
    )
    op.create_table(
        "deleted_passages",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, comment="the passage"),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False, comment="JSON: who wrote it"),
        sa.Column("deleted_by", sa.Text(), nullable=False, comment="JSON: who deleted it"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index(
        "deleted_passages_by_age",
        "deleted_passages",
        ["organization_id", "archive_id", "deleted_at", "id"],
        unique=False,
    )
    op.create_table(
        "passages",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False, comment="what full-text search finds"),
        sa.Column(
            "search_id", sa.BigInteger(), nullable=False, comment="the row's number in the embedded full-text index"
        ),
        sa.Column("metadata", sa.Text(), nullable=False, comment="JSON: the creator's own"),
        sa.Column("author", sa.Text(), nullable=False, comment="JSON: who wrote it"),
        sa.Column("author_id", sa.Text(), nullable=True),
        sa.Column("author_name", sa.Text(), nullable=True),
        sa.Column(
            "embedded_version",
            sa.Integer(),
            nullable=False,
            comment="the archive's embedding that was seen to; 0 for none",
        ),
        sa.Column("embedding_error", sa.Text(), nullable=True, comment="why it has no vector of that embedding"),
        sa.Column("created_at", sa.BigInteger(), nullable=False, comment="when its creator says that it is from"),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "archive_id"], ["archives.organization_id", "archives.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
    )
    op.create_index("passages_by_age", "passages", ["organization_id", "archive_id", "created_at", "id"], unique=False)
    op.create_index(
        "passages_by_author", "passages", ["organization_id", "archive_id", "author_id", "created_at"], unique=False
    )
    op.create_index("passages_by_search_id", "passages", ["search_id"], unique=False)
    op.create_index("passages_by_time", "passages", ["organization_id", "created_at", "id"], unique=False)
    op.create_index(
        "passages_to_embed",
        "passages",
        ["organization_id", "archive_id", "embedded_version", "search_id"],
        unique=False,
    )
    op.create_table(
        "passage_tags",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("passage_id", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False, comment="in the order in which they were given"),
        sa.ForeignKeyConstraint(
            ["organization_id", "passage_id"], ["passages.organization_id", "passages.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "passage_id", "tag"),
    )
    op.create_index(
        "passage_tags_by_tag", "passage_tags", ["organization_id", "archive_id", "tag", "passage_id"], unique=False
    )
    op.create_table(
        "passage_vectors",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("archive_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="of the archive's embedding"),
        sa.Column("place", sa.Integer(), nullable=False, comment="in the order in which they came"),
        sa.Column("passage_id", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False, comment="the signs of its values"),
        sa.Column("vector", _VECTOR, nullable=False, comment="of length 1"),
        sa.ForeignKeyConstraint(
            ["organization_id", "passage_id"], ["passages.organization_id", "passages.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "archive_id", "version", "place"),
    )
    op.create_index("passage_vectors_by_passage", "passage_vectors", ["organization_id", "passage_id"], unique=False)
    engine = {"sqlite": sqlite, "postgresql": postgres}[op.get_bind().dialect.name]
    for statement in engine.fulltext("passages"):
        op.execute(statement)
