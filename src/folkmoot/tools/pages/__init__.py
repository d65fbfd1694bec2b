"""Reading pages of the web."""
