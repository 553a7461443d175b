"""Has anybody written to the key ring?  A stamp of its files tells."""

from __future__ import annotations

import os
from pathlib import Path

_FILES = ("pubring.kbx", "pubring.gpg", "pubring.db", "private-keys-v1.d")

Stamp = tuple[tuple[int, int, int], ...]
"""Time of the last change, size and inode of each file that is there."""


class Watch:
    """Looks at the files of one GNUPGHOME."""

    def __init__(self, home: Path) -> None:
        self._paths = [str(home / name) for name in _FILES]

    def stamp(self) -> Stamp:
        """Return what changes when anybody writes to the ring."""
        found = []
        for path in self._paths:
            try:
                stat = os.stat(path)  # noqa: PTH116 - many times a mail; a Path costs ten times as much
            except OSError:
                continue
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)
