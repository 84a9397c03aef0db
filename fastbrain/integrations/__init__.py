"""Bridges to other projects; each module needs its own extra and is imported by name only."""
