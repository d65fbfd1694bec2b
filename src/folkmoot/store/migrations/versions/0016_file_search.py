"""Files are found by words and by meaning."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from folkmoot.store import postgres, sqlite

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_VECTOR = sa.LargeBinary().with_variant(postgresql.ARRAY(sa.REAL()), "postgresql")


def upgrade() -> None:
    """Add the table of vectors, and the index of words, with the chunks that are there."""
    op.create_table(
        "file_vectors",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="told from the model's handle"),
        sa.Column("place", sa.Integer(), nullable=False, comment="in the order in which they came"),
        sa.Column("chunk_id", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False, comment="the signs of its values"),
        sa.Column("vector", _VECTOR, nullable=False, comment="of length 1"),
        sa.ForeignKeyConstraint(
            ["organization_id", "chunk_id"], ["file_chunks.organization_id", "file_chunks.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "folder_id", "version", "place"),
    )
    op.create_index("file_vectors_by_chunk", "file_vectors", ["organization_id", "chunk_id"], unique=False)
    dialect = op.get_bind().dialect.name
    for statement in {"sqlite": sqlite, "postgresql": postgres}[dialect].fulltext("file_chunks"):
        op.execute(statement)
    if dialect == "sqlite":
        op.execute(
            "INSERT INTO file_chunks_fulltext(rowid, text) SELECT search_id, search_text FROM file_chunks "
            "WHERE search_text <> ''"
        )
