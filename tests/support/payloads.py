"""What do hostile mails say?  The table of the contract suite, where the tests look for it."""

from secbridge.testing.payloads import (
    BLOCKS,
    CHARACTERS,
    FENCES,
    LINES,
    MARKER,
    MARKUP,
    PAYLOADS,
    QUICK_ACTIONS,
    REFERENCES,
    SHAPES,
    WIKI,
)

__all__ = [
    "BLOCKS",
    "CHARACTERS",
    "FENCES",
    "LINES",
    "MARKER",
    "MARKUP",
    "PAYLOADS",
    "QUICK_ACTIONS",
    "REFERENCES",
    "SHAPES",
    "WIKI",
]
