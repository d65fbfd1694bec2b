"""Several agents that answer together, and agents that tend another one's memory while it is idle."""
