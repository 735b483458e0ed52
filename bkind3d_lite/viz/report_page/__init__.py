"""Report page: how well it went, against what, and what to doubt."""

from .images import embedded, pictures, stills
from .page import PAGE_HEAD, PAGE_STYLE, scrolled, write_report
from .table import cells_of, heads, score_table

__all__ = [
    "PAGE_HEAD",
    "PAGE_STYLE",
    "cells_of",
    "embedded",
    "heads",
    "pictures",
    "score_table",
    "scrolled",
    "stills",
    "write_report",
]
