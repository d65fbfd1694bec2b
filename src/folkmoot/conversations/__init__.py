"""What was said: an agent's conversations, their messages, and the search over them."""
