"""Readers of documents, one file a format: each yields the parts of a document's text as Markdown.

They run behind the sandbox's walls, where only their source goes, and import nothing of the server but each other.
"""
