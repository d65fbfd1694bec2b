"""The benchmark: a real server, a scripted model in a process of its own, one table. Run `python -m bench --help`."""
