"""Under which URLs does a domain publish its people's certificates?  Web Key Directory.

draft-koch-openpgp-webkey-service, section 3.1.  The local part is hashed in lower case, so that a
directory can be a folder of files, and stands beside the hash as it was written, for directories
that are a program.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass
from hashlib import sha1
from urllib.parse import quote

_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_Z_BASE32 = b"ybndrfg8ejkmcpqxot1uwisza345h769"
_TO_Z_BASE32 = bytes.maketrans(_BASE32, _Z_BASE32)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_LONGEST_HOST = 253
_SUB_DOMAIN = "openpgpkey"


@dataclass(frozen=True, slots=True)
class DirectoryUrls:
    """The two places of one certificate; ``direct`` counts only where ``advanced`` has no host."""

    advanced: str
    direct: str


def directory_urls(address: str) -> DirectoryUrls | None:
    """Return where the certificate for an addr-spec is published, or None.

    None is for a domain that is no plain host name in ASCII: an address literal, a single label, a
    number, or one so long that its sub-domain would be no name any more.  Other letters come here
    as A-labels (``xn--``) or not at all, since answers go to ASCII addresses only.
    """
    local, _, domain = address.rpartition("@")
    domain = domain.lower()
    host = f"{_SUB_DOMAIN}.{domain}"
    if not local or len(host) > _LONGEST_HOST or _HOST_NAME.fullmatch(domain) is None:
        return None
    name = f"hu/{hashed(local)}?l={quote(local, safe='')}"
    return DirectoryUrls(
        advanced=f"https://{host}/.well-known/openpgpkey/{domain}/{name}",
        direct=f"https://{domain}/.well-known/openpgpkey/{name}",
    )


def hashed(local: str) -> str:
    """Return the 32 characters under which a local part is filed: z-base-32 of its SHA-1.

    Letters of ASCII are hashed in lower case, all others as they are.  SHA-1 names a file here and
    proves nothing: what lies there counts by its own user ID.
    """
    digest = sha1(local.encode().lower(), usedforsecurity=False).digest()
    return b32encode(digest).translate(_TO_Z_BASE32).decode()
