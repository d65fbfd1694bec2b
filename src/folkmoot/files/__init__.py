"""Folders of files that agents read: uploads, the text in them, and what each agent has open."""
