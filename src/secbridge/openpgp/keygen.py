"""How is a key made that every OpenPGP program can use?  Ed25519 with Cv25519, version 4."""

from __future__ import annotations

from pathlib import Path

from secbridge.openpgp import status
from secbridge.openpgp.faults import Fault, fault
from secbridge.openpgp.hardened import HardenedGPG


def make_key(home: Path, user_id: str, *, binary: str = "gpg", expires: str = "1y") -> str:
    """Make an unprotected key with an encryption subkey, and return its fingerprint.

    ``expires`` as gpg takes it (``1y``, ``0`` for never).  Blocks.  Raises Deferral when gpg will
    not: the home is missing or closed, the agent is gone.
    """
    gpg = HardenedGPG(home, binary, 60.0, None)
    free = ["--pinentry-mode", "loopback", "--passphrase", ""]
    made = gpg.call(*free, "--quick-gen-key", user_id, "ed25519", "cert,sign", expires)
    created = status.first(status.parse(made.status), "KEY_CREATED")
    if created is None:
        raise fault(Fault.REFUSED)
    fingerprint = created.arg(1)
    added = gpg.call(*free, "--quick-add-key", fingerprint, "cv25519", "encr", expires)
    if added.returncode != 0:
        raise fault(Fault.REFUSED)
    return fingerprint
