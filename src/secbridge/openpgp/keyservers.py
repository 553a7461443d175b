"""How is a keyserver asked?  By address (VKS) or by full fingerprint (HKP), and by nothing else.

VKS is the interface of keys.openpgp.org, which gives an address only to who proved to own it.  HKP
(draft-gallagher-openpgp-hkp) proves nothing about user IDs, so it is asked for the very
certificate that a signature names; a search by address or key id would bring whatever anybody put
there.
"""

from __future__ import annotations

import re
from urllib.parse import quote

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


def by_address_url(server: str, address: str) -> str:
    """Return the URL of the certificate for an address; ``server`` is ``https://HOST[:PORT]``."""
    return f"{server}/vks/v1/by-email/{quote(address, safe='')}"


def by_fingerprint_url(server: str, fingerprint: str) -> str:
    """Return the URL of the certificate with a full fingerprint, machine-readable."""
    return f"{server}/pks/lookup?op=get&options=mr&search=0x{fingerprint}"


def is_full_fingerprint(text: str) -> bool:
    """Return whether this is a v4 fingerprint, 40 upper-case hex digits, and no mere key id."""
    return _FINGERPRINT.fullmatch(text) is not None
