"""The pages: server-rendered, live, and clients of the same functions and endpoints as everybody else."""
