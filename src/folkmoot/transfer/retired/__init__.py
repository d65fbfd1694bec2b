"""The retired server's database, read and taken over."""
