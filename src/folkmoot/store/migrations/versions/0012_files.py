"""Folders of files, their text in chunks, and what agents have open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    _add_files()
    _add_chunks()
    _add_agents()


def _add_files() -> None:
    op.create_table(
        "folders",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("instructions", sa.Text(), nullable=True),
        sa.Column("embedding", sa.Text(), nullable=True),
        sa.Column("configuration", sa.Text(), nullable=False, comment="JSON: metadata, and how its files are embedded"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "name", name="folders_name"),
    )
    op.create_index("folders_by_age", "folders", ["organization_id", "created_at", "id"], unique=False)
    op.create_table(
        "files",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="bytes of the newest upload"),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="of the newest upload: pending, parsing, embedding, completed, error",
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "version", sa.Integer(), nullable=False, comment="of the text that is shown; 0 before the first is read"
        ),
        sa.Column("uploads", sa.Integer(), nullable=False, comment="the version that the newest upload becomes"),
        sa.Column("upload_id", sa.Text(), nullable=True, comment="whose bytes are still to be read"),
        sa.Column("characters", sa.BigInteger(), nullable=False, comment="of the text that is shown"),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=True, comment="of the newest upload, once all are cut"),
        sa.Column("chunks_embedded", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "folder_id"], ["folders.organization_id", "folders.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "id"),
        sa.UniqueConstraint("organization_id", "folder_id", "name", name="files_name"),
    )
    op.create_index("files_by_age", "files", ["organization_id", "folder_id", "created_at", "id"], unique=False)
    op.create_index(
        "files_by_upload",
        "files",
        ["upload_id"],
        unique=False,
        sqlite_where=sa.text("upload_id IS NOT NULL"),
        postgresql_where=sa.text("upload_id IS NOT NULL"),
    )


def _add_chunks() -> None:
    op.create_table(
        "file_pieces",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("upload_id", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False, comment="bytes of an upload, until they are read"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organization_id", "upload_id", "place"),
    )
    op.create_index("file_pieces_by_age", "file_pieces", ["created_at"], unique=False)
    op.create_table(
        "file_chunks",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column(
            "place",
            sa.Integer(),
            nullable=False,
            comment="the texts of all places, one behind the other, are the file's",
        ),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "first_line", sa.BigInteger(), nullable=False, comment="the line that its first character stands in, from 1"
        ),
        sa.Column("last_line", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, comment="characters of the file before it"),
        sa.Column("heading", sa.Text(), nullable=True, comment="the headings that it stands under"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("search_text", sa.Text(), nullable=False, comment="what full-text search finds"),
        sa.Column(
            "search_id", sa.BigInteger(), nullable=False, comment="the row's number in the embedded full-text index"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "file_id"], ["files.organization_id", "files.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "file_id", "version", "place"),
        sa.UniqueConstraint("organization_id", "id", name="file_chunks_id"),
    )
    op.create_index(
        "file_chunks_by_line", "file_chunks", ["organization_id", "file_id", "version", "last_line"], unique=False
    )
    op.create_index("file_chunks_by_search_id", "file_chunks", ["search_id"], unique=False)


def _add_agents() -> None:
    op.create_table(
        "agent_folders",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("folder_id", sa.Text(), nullable=False),
        sa.Column("attached_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "folder_id"], ["folders.organization_id", "folders.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "folder_id"),
    )
    op.create_index(
        "agent_folders_by_folder", "agent_folders", ["organization_id", "folder_id", "agent_id"], unique=False
    )
    op.create_table(
        "agent_files",
        sa.Column("organization_id", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column(
            "first_line",
            sa.BigInteger(),
            nullable=True,
            comment="where the view begins that the agent asked for, from 1; NULL: at the start",
        ),
        sa.Column("last_line", sa.BigInteger(), nullable=True, comment="where it ends; NULL: as far as there is room"),
        sa.Column("accessed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "agent_id"], ["agents.organization_id", "agents.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "file_id"], ["files.organization_id", "files.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("organization_id", "agent_id", "file_id"),
    )
    op.create_index("agent_files_by_file", "agent_files", ["organization_id", "file_id", "agent_id"], unique=False)
