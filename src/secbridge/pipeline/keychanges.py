"""When does another certificate become the reporter's?  When a person of the team says so.

The first certificate that a reporter brings is bound by itself, in a follow-up as in a first mail.
Another one is only proposed, and nothing is sent to it until it is accepted here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from secbridge.model.case import Case, KeyBinding
from secbridge.model.message import CertificateSource, Message
from secbridge.pipeline.keyfinding import BROUGHT, find_key, names
from secbridge.ports import Cases, OpenPGP
from secbridge.rules.replies import KeyChanged, KeyFound

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The certificate is bound, and what was held for the reporter goes out by itself."""

    binding: KeyBinding


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing changed; ``code`` says why (``rules.drafting.words.key_refusal`` has its words).

    Codes: no-such-case, not-a-fingerprint, not-proposed, unknown-key (the ring lost it), or what is
    wrong with the certificate (``Certificate.problem``).
    """

    code: str


class KeyChanges:
    """Puts a proposed certificate in the place of the bound one."""

    def __init__(self, cases: Cases, openpgp: OpenPGP) -> None:
        self._cases = cases
        self._openpgp = openpgp

    async def accept(self, case_id: str, fingerprint: str, by: str) -> Accepted | Refused:
        """Bind a proposed certificate if it can still be used; ``by`` is the person's name.

        The fingerprint must be whole; blanks in it and the case of its letters do not matter.
        Accepting again what is bound already is no failure.  Raises Deferral for faults of ours.
        """
        wanted = "".join(fingerprint.split()).upper().removeprefix("0X")
        if not _FINGERPRINT.fullmatch(wanted):
            return Refused("not-a-fingerprint")
        if await self._cases.get_case(case_id) is None:
            return Refused("no-such-case")
        proposals = await self._cases.key_changes(case_id)
        address = next((each.address for each in proposals if each.fingerprint == wanted), None)
        if address is None:
            return Refused("not-proposed")
        if (code := await self._unusable(wanted, address)) is not None:
            return Refused(code)
        binding = await self._cases.accept_key(case_id, wanted, by=by)
        return Accepted(binding) if binding is not None else Refused("not-proposed")

    async def _unusable(self, fingerprint: str, address: str) -> str | None:
        """Return why a certificate cannot answer an address now, or None."""
        certificate = await self._openpgp.certificate(fingerprint)
        if certificate is None:
            return "unknown-key"
        if certificate.problem is not None:
            return certificate.problem
        return None if names(certificate, address) else "no-user-id"


async def learn(  # the mail, and the rooms that are asked
    message: Message,
    case: Case,
    cases: Cases,
    openpgp: OpenPGP,
    *,
    sources: Sequence[CertificateSource],
    received_at: datetime,
    now: datetime,
) -> KeyChanged | None:
    """Take note of the certificate that a follow-up of the reporter brings; nobody is asked for it.

    The first usable one is bound.  Another one than the bound is returned, for the team to decide.
    """
    if case.reporter is None:
        return None
    brought = [source for source in sources if source in BROUGHT]
    found = await find_key(
        message, case.reporter, case, cases, openpgp, sources=brought, received_at=received_at
    )
    match found:
        case KeyChanged(bound=str()):
            return found
        case KeyFound(binding=None):
            binding = KeyBinding(case.reporter, found.fingerprint, found.source, now)
            await cases.bind_key(case.id, binding)
    return None
