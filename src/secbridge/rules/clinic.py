"""What is wrong with a key, and what does its owner do about it?  One sentence for each code.

The reporter reads them in a notice, the team on the issue, an operator at the terminal; they hold
nothing of a mail.
"""

from __future__ import annotations

PROBLEMS: dict[str, str] = {
    "expired": "it has expired.",
    "revoked": "it has been revoked.",
    "no-encryption-subkey": "it can sign, but it has no valid subkey for encryption.",
    "weak": "it is too weak: it is short, or uses an algorithm that is broken.",
    "sha1-bindings": "its own signatures were made with SHA-1, which can be forged.",
    "unsupported-version": "it is in a newer format than our software can read.",
    "malformed": "it could not be read as an OpenPGP certificate.",
    "too-large": "it is larger than we accept, most often for the signatures of others on it.",
    "no-user-id": "it has no valid user ID with the address from which you write.",
}
"""Why a key cannot be used (``Certificate.problem``), said to its owner."""

_EXTEND = (
    "gpg --quick-set-expire FINGERPRINT 1y, and once more with the fingerprints of its subkeys "
    "behind it"
)
MENDS: dict[str, str] = {
    "expired": f"Extend its expiry date ({_EXTEND}), or make a new key.",
    "revoked": "Make a new key; a revoked one cannot be brought back.",
    "no-encryption-subkey": "Add one (gpg --quick-add-key FINGERPRINT cv25519 encr).",
    "weak": "Make a new key: Ed25519 with Cv25519, or RSA with 3072 bits or more.",
    "sha1-bindings": f"Sign it anew with a current GnuPG ({_EXTEND}), or make a new key.",
    "unsupported-version": "Send a version 4 key; every OpenPGP program can make one.",
    "malformed": "Export it again (gpg --armor --export FINGERPRINT) and attach the file.",
    "too-large": "Export it without them (gpg --armor --export-options export-minimal --export).",
    "no-user-id": "Add one (gpg --quick-add-uid FINGERPRINT), or write from an address it has.",
}
"""What the owner of such a key does."""

WARNINGS: dict[str, str] = {
    "weak": "it is shorter than is safe by now.",
    "expires-soon": "it expires within a month.",
}
"""What is wrong with a key that can still be used (``Certificate.warnings``)."""

WARNING_MENDS: dict[str, str] = {
    "weak": "Make a new key (Ed25519 with Cv25519, or RSA with 3072 bits or more), and send it "
    "to us in a mail that is signed with the old one.",
    "expires-soon": f"Extend its expiry date ({_EXTEND}), and attach it to your next mail.",
}
"""What the owner of such a key does."""
