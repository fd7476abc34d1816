"""Dragoman's sign: two balloons that speak with each other."""

from __future__ import annotations

from base64 import b64encode

from mcp_types import Icon

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">'
    '<path d="M3 4h11v8H8l-4 4v-4H3zM21 9v8h-1v4l-4-4h-6v-3h7V9z" fill="#0a7d8c"/></svg>'
)

ICON = Icon(
    src=f"data:image/svg+xml;base64,{b64encode(_SVG.encode()).decode()}", mime_type="image/svg+xml", sizes=["any"]
)
