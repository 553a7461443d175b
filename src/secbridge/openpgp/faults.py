"""What can be wrong with *us*?  The faults that must never be told as a verdict on a mail."""

from __future__ import annotations

from enum import StrEnum

from secbridge import maillog
from secbridge.errors import Deferral

_MOST_SAID = 64


class Fault(StrEnum):
    """Why our side of OpenPGP does not work now; each value is the code of a Deferral."""

    MISSING = "gpg-missing"
    """The gpg program is not there, or may not be run."""
    HOME = "gpg-home"
    """The key ring is missing, unreadable, open to others, or lost the role's secret key."""
    PASSPHRASE = "gpg-passphrase"  # noqa: S105 - the name of a fault, not a secret
    """The role key wants a passphrase, and ours is missing or wrong."""
    AGENT = "gpg-agent"
    """The secret key is there, and gpg-agent does not answer, or not with it."""
    TIMEOUT = "gpg-timeout"
    """gpg took longer than the time limit."""
    KILLED = "gpg-killed"
    """Somebody else killed gpg: the kernel out of memory, or an operator."""
    DISK_FULL = "gpg-disk-full"
    """The key ring could not be written."""
    SYSTEM = "gpg-system"
    """No process or pipe could be made: out of memory, of processes or of file descriptors."""
    REFUSED = "gpg-refused"
    """gpg did not do what it always does; an operator has to look."""
    SEALED = "sealed-unreadable"
    """What we sealed ourselves does not open."""


def fault(kind: Fault, *said: str) -> Deferral:
    """Return the Deferral for a fault of ours, and log what gpg said, by its keywords alone.

    All of them want a person (``alarm``).
    """
    maillog.gpg_failed(kind.value, said[:_MOST_SAID])
    return Deferral(
        kind.value,
        "Our side cannot work with OpenPGP at the moment; nothing is wrong with the message.",
        alarm=True,
    )
