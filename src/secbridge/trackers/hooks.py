"""Is a webhook really the tracker's own?  Each vendor proves it in its own way.

GitHub and Jira sign the body (HMAC-SHA256).  GitLab signs it together with an id and the time
(Standard Webhooks), or sends a token alone.  Whatever comes, one HMAC over the body is made and
compared in constant time, so that nobody learns from our haste how far a forgery got.

A webhook is a hint and no more: what it says is read again from the tracker, so the worst that a
forged one could do is make us look.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from secbridge.errors import PermanentFault
from secbridge.model.plaintext import Secret
from secbridge.ports import Posted, Proven, Unproven

WINDOW = timedelta(minutes=5)
"""How far the time in a webhook may be from ours (Standard Webhooks)."""

SIGNATURES = 8
"""So many signatures of one webhook are looked at; two are usual while a key is changed."""

SIGNING_PREFIX = "whsec_"
"""What a signing token begins with (Standard Webhooks)."""

SIGNING_KEY = 24
"""The least size of a signing key (octets; Standard Webhooks)."""

_STAMP = re.compile(rb"[0-9]{1,12}")


@dataclass(frozen=True, slots=True, repr=False)
class BodyHook:
    """Proves ``FIELD: sha256=HEX``, the HMAC of the body: GitHub's way, and Jira's.

    ``dated``: the body is JSON that says under ``timestamp`` when it was made (milliseconds).
    """

    field: bytes
    key: bytes
    dated: bool = False

    def judge(self, posted: Posted, *, now: datetime) -> Proven | Unproven:
        """Return whether this key signed the body (``ports.Hook``)."""
        given = _values(posted, self.field)
        mac = hmac.new(self.key, posted.body, hashlib.sha256)
        expected = f"sha256={mac.hexdigest()}".encode()
        genuine = hmac.compare_digest(expected, given[0] if given else b"")
        if len(given) != 1:
            return Unproven("several-signatures" if given else "no-signature")
        if not genuine:
            return Unproven("bad-signature")
        return Proven(mac.digest(), late=self.dated and _is_late(posted.body, now))


@dataclass(frozen=True, slots=True, repr=False)
class GitLabHook:
    """Proves a signature (Standard Webhooks), or a token where no signature was sent.

    A signature that is there must be right: the token does not help it.
    """

    token: bytes | None = None
    signing_key: bytes | None = None
    _blind: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def judge(self, posted: Posted, *, now: datetime) -> Proven | Unproven:
        """Return whether this GitLab sent it (``ports.Hook``)."""
        signatures = _values(posted, b"webhook-signature")
        if signatures:
            return self._signed(posted, signatures, now)
        return self._with_token(posted)

    def _signed(self, posted: Posted, given: Sequence[bytes], now: datetime) -> Proven | Unproven:
        ids, stamps = _values(posted, b"webhook-id"), _values(posted, b"webhook-timestamp")
        name, stamp = ids[0] if ids else b"", stamps[0] if stamps else b""
        key = self.signing_key or self._blind
        mac = hmac.new(key, b".".join((name, stamp, posted.body)), hashlib.sha256)
        expected = b"v1," + base64.b64encode(mac.digest())
        offered = given[0].split(b" ")[:SIGNATURES]
        genuine = [hmac.compare_digest(expected, one) for one in offered]
        if self.signing_key is None:
            return Unproven("no-signing-token")
        if (len(given), len(ids), len(stamps)) != (1, 1, 1):
            return Unproven("several-signatures" if len(given) > 1 else "no-signature")
        if not any(genuine) or not name or b"." in name or not _STAMP.fullmatch(stamp):
            return Unproven("bad-signature")
        if abs(now - _EPOCH - timedelta(seconds=int(stamp))) > WINDOW:
            return Unproven("out-of-time")
        return Proven(hashlib.sha256(name).digest())

    def _with_token(self, posted: Posted) -> Proven | Unproven:
        """Compare the HMACs of the tokens: those of texts of different length are alike in size."""
        given = _values(posted, b"x-gitlab-token")
        expected = self._blinded(self.token or b"")
        genuine = hmac.compare_digest(expected, self._blinded(given[0] if given else b""))
        identity = hmac.new(self._blind, posted.body, hashlib.sha256).digest()
        if self.token is None or not given:
            return Unproven("no-signature" if self.token is None else "no-token")
        if len(given) != 1 or not genuine:
            return Unproven("bad-token")
        return Proven(identity)

    def _blinded(self, token: bytes) -> bytes:
        return hmac.digest(self._blind, token, "sha256")


def signing_key(token: Secret, *, setting: str) -> bytes:
    """Return the key in a signing token.  Raises PermanentFault for what cannot be one."""
    text = token.reveal()
    try:
        key = base64.b64decode(text.removeprefix(SIGNING_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(SIGNING_PREFIX) or len(key) < SIGNING_KEY:
        raise PermanentFault(
            "webhook-signing-token",
            "The signing token is none.",
            setting=setting,
            mend=f"Copy it from GitLab as it is shown there: it begins with {SIGNING_PREFIX}.",
        )
    return key


_EPOCH = datetime.fromtimestamp(0, UTC)


def _values(posted: Posted, name: bytes) -> list[bytes]:
    """Return what all fields of this name say."""
    return [value for each, value in posted.fields if each == name]


def _is_late(body: bytes, now: datetime) -> bool:
    """Return whether a proven body says that it was made long ago; one that says nothing is not."""
    try:
        stamp = json.loads(body)["timestamp"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    if isinstance(stamp, bool) or not isinstance(stamp, int):
        return False
    return stamp / 1000 < (now - WINDOW).timestamp()
