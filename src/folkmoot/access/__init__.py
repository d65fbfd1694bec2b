"""Who may use the server: organisations, principals, keys, sessions."""
