"""What the tests stand on: a scripted model, a real PostgreSQL, a real server process."""
