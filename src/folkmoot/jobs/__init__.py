"""Work that outlives a request: kept as rows, done by any process, finished after a crash."""
