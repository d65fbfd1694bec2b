"""Agents: their state, what their model sees, and the loop that a turn is."""
