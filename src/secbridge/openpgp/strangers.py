"""Whose certificates came by mail, and not by the hand of a person?  An empty file for each.

What a stranger attaches has to be in the ring to judge the signatures of its owner, and yet nobody
vouched for it: whoever writes under a forged address can put one there.  So each gets a mark beside
the ring before gpg takes it, and a certificate with a mark is never one that "we have".
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from secbridge.openpgp.faults import Fault, fault

FOLDER = "secbridge-strangers"
"""The folder of the marks in the GNUPGHOME."""


class Strangers:
    """The marks of one GNUPGHOME; names are primary fingerprints in upper case."""

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def __contains__(self, fingerprint: object) -> bool:
        return (self._folder / str(fingerprint)).exists()

    def mark(self, fingerprint: str) -> None:
        """Mark a certificate, lastingly, before it comes into the ring."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / fingerprint).touch(mode=0o600)
            _sync(self._folder)
        except OSError:
            raise fault(Fault.SYSTEM) from None

    def unmark(self, fingerprint: str) -> None:
        """Take the mark away: a person brought the certificate, or it is gone."""
        try:
            with suppress(FileNotFoundError):
                (self._folder / fingerprint).unlink()
        except OSError:
            raise fault(Fault.SYSTEM) from None


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
