"""Ports of the servers that rasterloom itself starts."""

from __future__ import annotations

PORTS = range(20_000, 32_000)
"""Linux gives none of these to a client, which would have by chance the one that a server wants, or wants again."""
