"""Blocks: the pieces of memory that agents share, every version of them, and who wrote each."""
