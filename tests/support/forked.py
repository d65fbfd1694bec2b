"""A program that is a fork of the preloaded process: `python -I -S forked.py ADDRESS ARGUMENTS…`.

It is what to start where a program is started by its path, as servers of tools are. It gives its standard streams and
its variables to a fork that runs `folkmoot ARGUMENTS`, and lives as long as that does; it imports next to nothing.
"""

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

address, *arguments = sys.argv[1:]
order = {"script": None, "arguments": arguments, "environ": dict(os.environ), "folder": str(Path.cwd())}
with socket.socket(socket.AF_UNIX) as channel:
    channel.connect(address)
    answers = channel.makefile("rb")
    # The first piece of a question carries the streams.
    question = json.dumps({"fork": order}).encode() + b"\n"
    sent = socket.send_fds(channel, [question], [0, 1, 2])
    channel.sendall(question[sent:])
    pid = int(answers.readline())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: os.kill(pid, received))
    for stream in (0, 1, 2):
        os.close(stream)  # so that who is at the other end sees the fork close them
    ended = select.poll()
    ended.register(os.pidfd_open(pid), select.POLLIN)
    ended.poll()
    channel.sendall(json.dumps({"reap": pid}).encode() + b"\n")
    status = int(answers.readline())
os._exit(status if status >= 0 else 128 - status)
