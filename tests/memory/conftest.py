"""The guarantees run over the processes of the chaos tests."""

from chaos.conftest import connect, https, three_processes

__all__ = ["connect", "https", "three_processes"]
