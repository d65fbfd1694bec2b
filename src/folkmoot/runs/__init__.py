"""Turns as runs: each has a row that says what became of it, and one conversation has one turn at a time."""
