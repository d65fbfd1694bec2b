"""The door for agents that live elsewhere: Folkmoot as a server of the Model Context Protocol (MCP), at `/mcp`."""
