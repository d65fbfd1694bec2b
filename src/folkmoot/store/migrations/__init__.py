"""Alembic's migrations. `HEAD` is the newest one, so that a start need not import Alembic to see that all is done."""

HEAD = "0027"
