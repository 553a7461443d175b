"""How do we use a key ring that must not be written to?  By a private copy, gone afterwards.

gpg writes where it only reads: locks, sockets, ``trustdb.gpg``, and a ``secring.gpg`` of old is
migrated at the first touch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from secbridge.openpgp.faults import Fault, fault

_COPIED = (
    "pubring.kbx",
    "pubring.gpg",
    "secring.gpg",
    "trustdb.gpg",
    "gpg-agent.conf",
    "private-keys-v1.d",
)
_LONGEST = 60
"""Octets of a path under which the agent's socket still has a name short enough (108)."""


@contextmanager
def scratch_copy(home: Path) -> Iterator[Path]:
    """Give a copy of a GNUPGHOME, mode 0700, in memory where the system has such a place.

    Keys are copied; sockets, locks and the random seed are not.  At the end its daemons are
    stopped and it is removed.  Raises Deferral when ``home`` cannot be read.
    """
    scratch = Path(tempfile.mkdtemp(prefix="sb", dir=_short_place()))
    try:
        _copy(home, scratch)
        yield scratch
    finally:
        stop_daemons(scratch)
        shutil.rmtree(scratch, ignore_errors=True)


def stop_daemons(home: Path) -> None:
    """Stop the agent (and the smartcard daemon) of a home directory; no harm when there is none."""
    command = [shutil.which("gpgconf") or "gpgconf", "--homedir", str(home), "--kill", "all"]
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
        )


def check_home(home: Path) -> None:
    """Raise Deferral unless ``home`` is a directory of ours that nobody else can look into."""
    try:
        found = home.stat()
    except OSError:
        raise fault(Fault.HOME) from None
    private = found.st_mode & 0o077 == 0 and found.st_uid == os.geteuid()
    if not home.is_dir() or not private or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise fault(Fault.HOME)


def _short_place() -> str:
    places = ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir())  # noqa: S108 - mkdtemp makes the name and the mode
    for place in places:
        if place and len(place) <= _LONGEST and os.access(place, os.W_OK | os.X_OK):
            return place
    raise fault(Fault.HOME)


def _copy(home: Path, scratch: Path) -> None:
    try:
        for name in _COPIED:
            source = home / name
            if source.is_dir():
                shutil.copytree(source, scratch / name, copy_function=shutil.copyfile)
            elif source.exists():
                shutil.copyfile(source, scratch / name)
        with suppress(FileNotFoundError):
            (scratch / "private-keys-v1.d").chmod(0o700)
    except (OSError, shutil.Error):
        raise fault(Fault.HOME) from None
    if not home.is_dir():
        raise fault(Fault.HOME)
