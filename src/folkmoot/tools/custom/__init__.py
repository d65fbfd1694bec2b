"""Tools of one's own: made of source code that somebody sent, described without running it, run in the sandbox."""
