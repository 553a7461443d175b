"""What if the key ring goes away while we work?  That is our fault, whenever it happens."""

from __future__ import annotations

import time

import pytest
from tests.support.keys import Keys, Ring

from secbridge.errors import Deferral
from secbridge.openpgp.hardened import HardenedGPG
from secbridge.openpgp.keyring import Keyring
from secbridge.openpgp.opening import Opener
from secbridge.openpgp.ring import encryption_keys


def test_a_certificate_that_vanishes_in_the_middle_of_a_trial_is_ours_to_mend(
    keys: Keys, role_ring: Ring
) -> None:
    """Seen a moment ago and gone when it is needed: a Deferral with an alarm, and nothing else."""
    gpg = HardenedGPG(role_ring.home, "gpg", 60.0, None)
    keyring = Keyring(gpg, role_ring.home, (keys.role_fpr,))
    role = keyring.find(keys.role_fpr)
    assert role is not None
    (key,) = encryption_keys(role, time.time())
    (role_ring.home / "pubring.kbx").unlink()
    with pytest.raises(Deferral) as caught:
        Opener(gpg, keyring).prove(role, key)
    assert ("gpg-home", True) == (caught.value.code, caught.value.alarm)
