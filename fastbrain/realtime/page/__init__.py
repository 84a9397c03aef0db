"""Live page of a session: decoded text, quality and latency in a browser, and its controls."""

from .server import PageServer, serve_page

__all__ = ["PageServer", "serve_page"]
