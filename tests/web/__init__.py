"""The pages, in requests and in a browser."""
