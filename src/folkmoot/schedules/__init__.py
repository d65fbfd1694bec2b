"""What is said to agents at times to come: once, or again and again."""
