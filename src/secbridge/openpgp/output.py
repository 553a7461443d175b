"""What does output cost that nobody may ever use?  Little: where it is wide it is held compressed.

Output is *wide* as soon as there is far more of it than gpg has been given.  Then it is a bomb's,
which is thrown away at the limit, or that of a file which compresses well, and is expanded at the
end.  What counts against the limit is what gpg wrote, so no verdict depends on how it is held.
"""

from __future__ import annotations

import io
import zlib
from collections import deque

_FLOOR = 1024 * 1024
_RATIO = 12
"""Output is wide beyond so many octets, and so many for each one that gpg was given."""

_FAST, _AS_IT_IS = 1, 0
"""Levels of zlib.  What is wide shrinks to a hundredth or less, faster than gpg writes it."""


class Output:
    """What a child has written; ``size`` counts its octets as they were written."""

    def __init__(self) -> None:
        self.size = 0
        self._plain = io.BytesIO()
        self._packed: deque[bytes] = deque()

    def add(self, chunk: bytes, given: int) -> None:
        """Hold one more chunk of a child that was given ``given`` octets."""
        self.size += len(chunk)
        wide = self.size > _FLOOR + _RATIO * given
        if wide or self._packed:  # what follows a packed chunk has its place behind it
            self._packed.append(zlib.compress(chunk, _FAST if wide else _AS_IT_IS))
        else:
            self._plain.write(chunk)

    def take(self) -> bytes:
        """Return all of it, once; nothing is held any more."""
        while self._packed:
            self._plain.write(zlib.decompress(self._packed.popleft()))
        taken = self._plain.getvalue()
        self._plain = io.BytesIO()
        return taken
