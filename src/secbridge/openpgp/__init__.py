"""What does OpenPGP say about this mail?  The role keys, and the key ring around them."""

from secbridge.openpgp.gnupg import GnuPG
from secbridge.openpgp.home import scratch_copy
from secbridge.openpgp.strength import KeyLimits

__all__ = ["GnuPG", "KeyLimits", "scratch_copy"]
