"""Runs code that nobody has vouched for, behind walls that the kernel keeps; knows nothing of agents and tools.

    server process                 forker (one for each environment)      call
    Sandbox.run(Call)  ── socket ──▶ forks ─▶ guard, outside the walls ──▶ program, inside them
           ◀────────────── Result ─────────────── one report

The forker is a bare interpreter, started with an empty environment: it has none of the server's memory, files or
variables. For each call it forks a guard, which forks the program into namespaces of its own, reads what it prints
and returns, and ends it. When the server, the forker or the guard goes away, so does the program.

`forker`, `guard`, `walls`, `linux`, `landlock`, `seccomp` and `program` run in that interpreter, on the standard
library alone.
"""
