"""The HTTP face: the routes of the API, and the wire format's models."""
