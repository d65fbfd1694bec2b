"""Archives: passages of text that agents share, outside their contexts."""
