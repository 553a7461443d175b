"""What if a text is longer than a tracker takes?  The longest parts are cut, and say so.

For dialects whose limit counts what the rendered text becomes, such as its JSON: the dialect
measures, and the cut is found by trying.  Sentences of ours are kept as long as any room is left.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from secbridge.model.issue import Block, Paragraph, Untrusted
from secbridge.rules.drafting.untrusted import visible


def utf16_units(text: str) -> int:
    """Return the length of a text as Java counts it, in 16-bit units."""
    return len(text) + sum(1 for character in text if character > "\uffff")


def fitted(
    blocks: Sequence[Block], *, size: Callable[[Sequence[Block]], int], limit: int, raw: str
) -> tuple[Block, ...]:
    """Return the blocks with strangers' texts visible, cut until ``size`` is at most ``limit``.

    ``raw`` is the command for the whole mail; what is cut names it.  Where even texts of no length
    are too much, blocks at the end are left out.
    """
    pieces = [_piece(block, limit) for block in blocks]

    def is_too_much(cap: int) -> bool:
        return size(_capped(pieces, cap, raw)) > limit

    if not is_too_much(limit):
        return _capped(pieces, limit, raw)
    if is_too_much(0):
        return _shortened(_capped(pieces, 0, raw), size=size, limit=limit, raw=raw)
    cap = bisect_left(range(limit), True, lo=1, key=is_too_much) - 1
    return _capped(pieces, cap, raw)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block made fit to be shown; ``missing`` counts characters of it that can never fit."""

    block: Block
    missing: int = 0

    def capped(self, cap: int, raw: str) -> tuple[Block, ...]:
        """Return the block with at most ``cap`` characters of a stranger's, and what was cut."""
        if not isinstance(self.block, Untrusted):
            return (self.block,)
        missing = max(0, len(self.block.text) - cap) + self.missing
        shown = replace(self.block, text=self.block.text[:cap])
        what = f"{missing} more characters do not fit"
        return (shown, _cut_note(what, raw)) if missing else (shown,)


def _piece(block: Block, limit: int) -> _Piece:
    if not isinstance(block, Untrusted):
        return _Piece(block)
    shown = visible(block.text[:limit])
    missing = max(0, len(block.text) - limit) + max(0, len(shown) - limit)
    return _Piece(replace(block, text=shown[:limit]), missing)


def _capped(pieces: Sequence[_Piece], cap: int, raw: str) -> tuple[Block, ...]:
    return tuple(block for piece in pieces for block in piece.capped(cap, raw))


def _shortened(
    blocks: Sequence[Block], *, size: Callable[[Sequence[Block]], int], limit: int, raw: str
) -> tuple[Block, ...]:
    """Return as many blocks from the beginning as fit, and a note that there are more."""
    note = _cut_note("more parts of the mail do not fit", raw)

    def is_too_much(count: int) -> bool:
        return size((*blocks[:count], note)) > limit

    count = max(0, bisect_left(range(len(blocks)), True, key=is_too_much) - 1)
    return (*blocks[:count], note)


def _cut_note(what: str, raw: str) -> Paragraph:
    return Paragraph(f"Cut here: {what}.{f' The whole mail: {raw}' if raw else ''}")
