"""What the protocol's conformance suite starts for each scenario: it has a process that is there play the client.

Called as `relay.py SOCKET … ADDRESS`, in an interpreter that imports next to nothing.
"""

import json
import os
import socket
import sys

wanted = {
    "scenario": os.environ["MCP_CONFORMANCE_SCENARIO"],
    "context": json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"),
    "address": sys.argv[-1],
}
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(json.dumps(wanted).encode() + b"\n")
    connection.makefile().read()
