"""How is a draft written for the embedded tracker?  As plain text for a terminal.

Nothing interprets this text, so the only danger is one part that poses as another: each line of a
stranger's stands behind ``| ``, and no line of ours does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from secbridge.model.issue import (
    Block,
    CommentDraft,
    Facts,
    FileLinks,
    Heading,
    IssueDraft,
    Paragraph,
    Untrusted,
)
from secbridge.rules.drafting.untrusted import visible


def issue_text(draft: IssueDraft) -> str:
    """Return the whole text of an issue; nothing is cut."""
    return _joined((*draft.header, *draft.report))


def comment_text(draft: CommentDraft) -> str:
    """Return the whole text of a comment; nothing is cut."""
    return _joined(draft.blocks)


def render(block: Block) -> str:
    """Return one block as lines of text."""
    match block:
        case Paragraph(text):
            return _line(text)
        case Heading(text):
            return f"{_line(text)}\n{'-' * len(_line(text))}"
        case Facts(rows):
            width = max((len(name) for name, _ in rows), default=0)
            return "\n".join(f"{name:<{width}}  {_line(value)}" for name, value in rows)
        case FileLinks(rows):
            return "\n".join(_line(name) for name, _ in rows)
        case Untrusted(text, label):
            shown = "\n".join(f"| {line}" if line else "|" for line in visible(text).split("\n"))
            return f"{_line(label)}:\n{shown}" if label else shown
        case _:
            assert_never(block)


def _line(text: str) -> str:
    return " ".join(text.split())


def _joined(blocks: Sequence[Block]) -> str:
    return "\n\n".join(render(block) for block in blocks) + "\n"
