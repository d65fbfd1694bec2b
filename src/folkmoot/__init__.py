"""Folkmoot: a self-hosted server for stateful agents that share memory."""

__version__ = "0.5.0"
