"""Tools of servers that speak the Model Context Protocol, for agents; the protocol itself is the official SDK's."""
