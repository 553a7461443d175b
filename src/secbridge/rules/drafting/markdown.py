"""How is a draft written in Markdown so that nothing in it acts?  For GitLab and for GitHub.

Untrusted text stands in a fence of backticks that no run in it can close, with the fixed info
string ``text``, each line indented by a blank.  So no line can close the fence, and none begins
with ``/``: that holds for parsers (CommonMark 0.31 section 4.5) and for the regular expressions by
which older GitLabs looked for quick actions.  Each untrusted part has a fence of its own.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from secbridge.model.issue import (
    Block,
    CommentDraft,
    Facts,
    FileLinks,
    Heading,
    IssueDraft,
    Note,
    Paragraph,
    Untrusted,
)
from secbridge.rules.drafting.untrusted import longest_run, visible

TOLD = "<!-- secbridge:told -->"
"""A line of its own in a text that holds the report; a mail's lines, indented, never say it."""

_PLAIN_WORDS = re.compile(r"[A-Za-z ,.;:()'-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}")
_PLAIN_ADDRESS = re.compile(r"(?:https?://[A-Za-z0-9.:\[\]-]+)?(?:/[A-Za-z0-9._~%-]+)+")
"""A file's address, whole or from the root: no query, nothing of Markdown's but ``_`` and ``~``."""

ROOM_FOR_NOTES = 20_000
"""Octets that are left for marker and notes when we ask whether a text fits."""

_FENCE = "`"
_LONGEST_FENCE = 200
"""Backticks in a fence: cmark, GitHub's and older GitLabs' parser, counts them up to 255 only, so
that a longer run in the text would close the fence, however long that one is."""

_UNTOLD = "A mail to this case arrived."


def issue_marker(marker: str) -> str:
    """Return the last line of an issue's text, by which it is found again."""
    return f"<!-- secbridge:report={marker} -->"


def comment_marker(marker: str) -> str:
    """Return the last line of a comment's text."""
    return f"<!-- secbridge:comment={marker} -->"


def says(text: str, line: str) -> bool:
    """Return whether ``text`` has this very line, at the left margin (so that no mail said it)."""
    return line in text.replace("\r\n", "\n").split("\n")


def untold_issue(draft: IssueDraft, marker: str) -> str:
    """Return what an issue says before it is proven confidential: header and marker only."""
    return "\n\n".join([*(render(block) for block in draft.header), issue_marker(marker)])


def told_issue(draft: IssueDraft, marker: str, *, limit: int, notes: Sequence[Note] = ()) -> str:
    """Return the whole text of an issue, at most ``limit`` octets of UTF-8; what is cut says so."""
    blocks = (*draft.header, *notes, *draft.report)
    return _fitted(blocks, [TOLD, issue_marker(marker)], limit=limit, raw=draft.raw_command)


def fits(draft: IssueDraft | CommentDraft, *, limit: int) -> bool:
    """Return whether the whole text of a draft fits in ``limit`` octets, with some notes on it."""
    blocks = (*draft.header, *draft.report) if isinstance(draft, IssueDraft) else draft.blocks
    if sum(len(block.text) for block in blocks if isinstance(block, Untrusted)) > limit:
        return False  # said at once, without making it visible
    return sum(len(render(block).encode()) + 2 for block in blocks) + ROOM_FOR_NOTES <= limit


def told_comment(draft: CommentDraft, marker: str, *, limit: int) -> str:
    """Return the whole text of a comment, at most ``limit`` octets of UTF-8."""
    return _fitted(draft.blocks, [comment_marker(marker)], limit=limit, raw=draft.raw_command)


def untold_comment(marker: str) -> str:
    """Return what a comment says before it is proven internal."""
    return f"{_UNTOLD}\n\n{comment_marker(marker)}"


def is_untold_comment(text: str) -> bool:
    """Return whether a comment still says what ``untold_comment`` says."""
    return text.startswith(_UNTOLD)


# ── Blocks ───────────────────────────────────────────────────────────────────────────────────────


def render(block: Block) -> str:
    """Return one block as Markdown that stands between blank lines."""
    match block:
        case Paragraph(text):
            return _sentence(text)
        case Heading(text):
            return f"### {_sentence(text)}"
        case Facts(rows):
            return _table(rows)
        case FileLinks(rows):
            return "\n".join(f"- {_link(name, address)}" for name, address in rows)
        case Untrusted():
            return _untrusted(block)
        case _:
            assert_never(block)


def fenced(text: str) -> str:
    """Return ``text``, made visible before, in a fence that nothing in it can close.

    Where a fence cannot be longer than what is in the text, the lines are indented by four blanks:
    a fence is closed by a line with three at most (CommonMark 0.31 section 4.5).
    """
    fence, indent = _frame(text)
    body = "\n".join(f"{indent}{line}" for line in text.split("\n"))
    return f"{fence}text\n{body}\n{fence}"


def _frame(text: str) -> tuple[str, str]:
    """Return the fence for a text, and what stands before each of its lines."""
    longest = longest_run(text, _FENCE)
    indent = " " if longest < _LONGEST_FENCE else " " * 4
    return _FENCE * min(max(3, longest + 1), _LONGEST_FENCE), indent


def code(text: str) -> str:
    """Return ``text`` as a code span on one line (CommonMark 0.31 section 6.1)."""
    line = " ".join(text.split())
    fence = _FENCE * (longest_run(line, _FENCE) + 1)
    pad = " " if line.startswith(_FENCE) or line.endswith(_FENCE) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _link(name: str, address: str) -> str:
    """Return a file's name as a link, or alone where it or its address is not of a plain form."""
    if _PLAIN_NAME.fullmatch(name) and _PLAIN_ADDRESS.fullmatch(address):
        return f"[{name}]({address})"
    return code(name)


def _untrusted(block: Untrusted) -> str:
    label = _sentence(block.label) if block.label else ""
    body = fenced(visible(block.text))
    if block.folded:
        return f"<details><summary>{label or 'Quoted text'}</summary>\n\n{body}\n\n</details>"
    return f"**{label}**\n\n{body}" if label else body


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| **{_sentence(name)}** | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: str) -> str:
    """Return plain words as they are and everything else as code, where references sleep."""
    line = " ".join(value.split())
    if not line or _PLAIN_WORDS.fullmatch(line):
        return line
    return code(line).replace("|", "\\|")


def _sentence(text: str) -> str:
    """Return our own sentence on one line that cannot be taken for a quick action or for HTML."""
    line = " ".join(text.split()).replace("<", "&lt;")
    return code(line) if line.startswith("/") else line


# ── Fitting ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block made fit to be shown; ``missing`` counts characters of it that can never fit."""

    block: Block
    missing: int = 0

    def octets(self, cap: int, raw: str) -> int:
        """Return at least what ``lines`` takes beyond the label: the fence and the note."""
        if not isinstance(self.block, Untrusted):
            return 0
        missing = max(0, len(self.block.text) - cap) + self.missing
        note = len(_cut_note(missing, raw).encode()) + 2 if missing else 0
        return _fenced_octets(self.block.text[:cap]) + note

    def lines(self, cap: int, raw: str) -> list[str]:
        """Return the block with at most ``cap`` characters of a stranger's, and what was cut."""
        if not isinstance(self.block, Untrusted):
            return [render(self.block)]
        missing = max(0, len(self.block.text) - cap) + self.missing
        shown = render(replace(self.block, text=self.block.text[:cap]))
        return [shown, _cut_note(missing, raw)] if missing else [shown]


def _fitted(blocks: Sequence[Block], last: Sequence[str], *, limit: int, raw: str) -> str:
    """Return the blocks whole, or with the longest parts cut until all fits in ``limit`` octets."""
    pieces = [_piece(block, limit) for block in blocks]

    def text(pieces: Sequence[_Piece], cap: int) -> str:
        shown = [line for piece in pieces for line in piece.lines(cap, raw)]
        return "\n\n".join([*shown, "\n".join(last)])

    ours = len(text([_without_text(piece) for piece in pieces], 0).encode())

    def is_too_much(cap: int) -> bool:
        return ours + sum(piece.octets(cap, raw) for piece in pieces) > limit

    if not is_too_much(limit):
        return text(pieces, limit)
    return text(pieces, max(0, bisect_left(range(limit), True, key=is_too_much) - 1))


def _piece(block: Block, limit: int) -> _Piece:
    if not isinstance(block, Untrusted):
        return _Piece(block)
    shown = visible(block.text[:limit])
    missing = max(0, len(block.text) - limit) + max(0, len(shown) - limit)
    return _Piece(replace(block, text=shown[:limit]), missing)


def _without_text(piece: _Piece) -> _Piece:
    block = piece.block
    return _Piece(replace(block, text="")) if isinstance(block, Untrusted) else piece


def _fenced_octets(text: str) -> int:
    """Return how many octets ``fenced(text)`` has, without making it."""
    fence, indent = _frame(text)
    lines = text.count("\n") + 1
    return len(text.encode()) + lines * len(indent) + 2 * len(fence) + len("text\n\n")


def _cut_note(missing: int, raw: str) -> str:
    where = f" The whole mail: {code(raw)}" if raw else ""
    return f"_Cut here: {missing} more characters do not fit._{where}"
