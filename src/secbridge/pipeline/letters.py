"""How does a text become the finished mails of ours?  One way for answers by machine and by people.

A letter is one mail: the reporter and the alias get the same bytes under the same Message-ID, each
in a transaction of its own.  The Message-ID and the envelope sender follow from case and step, so
that a letter which is built twice is one mail for everybody who reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from secbridge.errors import Deferral
from secbridge.mail import compose
from secbridge.mail.parse import canonical_body_hash
from secbridge.model.alias import Alias
from secbridge.model.case import Case
from secbridge.model.reply import OutgoingMail, ReplyKind, ReplyText
from secbridge.ports import CannotEncrypt, Clock, OpenPGP
from secbridge.rules import addresses, identity, replies

EXPORT_KEPT = timedelta(minutes=10)
"""How long an exported role certificate is used again."""


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """A mail to be.

    ``encrypt_to`` is the recipient's fingerprint, None where it leaves in clear.  ``in_reply_to``
    and ``references`` are those of the mail that it answers.  ``automatic``: no person brought it
    about, so it counts towards the budgets.  ``copy``: the alias is on CC and gets the same bytes.
    """

    case: Case
    alias: Alias
    kind: ReplyKind
    step: str
    to: str
    text: ReplyText
    must_encrypt: bool
    encrypt_to: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    automatic: bool = True
    copy: bool = True

    def __repr__(self) -> str:
        return f"Letter({self.case.id}, {self.step})"


class LetterDesk:
    """Turns letters into the bytes that leave."""

    def __init__(self, openpgp: OpenPGP, *, secret: bytes, clock: Clock) -> None:
        self._openpgp = openpgp
        self._secret = secret
        self._clock = clock
        self._exports: dict[str, tuple[datetime, bytes]] = {}

    async def finish(self, letter: Letter) -> tuple[OutgoingMail, ...]:
        """Return one mail for each who gets it.  Raises CannotEncrypt, and Deferral."""
        head = await self._letterhead(letter)
        content = await self._written(head, letter)
        case, alias = letter.case, letter.alias
        number = replies.number_of(letter.step)
        mail = OutgoingMail(
            case_id=case.id,
            step=letter.step,
            kind=letter.kind,
            recipient=head.to,
            reverse_path=addresses.bounce_address(alias.address, case.token, number),
            message_id=head.message_id,
            content=content,
            body_hash=canonical_body_hash(content),
            must_encrypt=letter.must_encrypt,
            encrypted_to=(letter.encrypt_to, alias.signing_key) if letter.encrypt_to else (),
            automatic=letter.automatic,
        )
        return (mail, replace(mail, recipient=alias.address)) if letter.copy else (mail,)

    async def _letterhead(self, letter: Letter) -> compose.Letterhead:
        case, alias = letter.case, letter.alias
        message_id = identity.message_id(self._secret, case.id, letter.step, alias.domain)
        return compose.Letterhead(
            author_name=alias.name or alias.local_part,
            author=alias.address,
            to=letter.to,
            cc=alias.address if letter.copy else "",
            reply_to=addresses.case_address(alias.address, case.token),
            subject=letter.text.subject,
            date=self._clock.now(),
            message_id=message_id,
            origin=identity.origin(
                self._secret, case_id=case.id, step=letter.step, message_id=message_id
            ),
            in_reply_to=letter.in_reply_to,
            references=compose.thread_of(letter.in_reply_to, letter.references),
            submitted=letter.kind.submitted,
            certificate=await self._certificate(alias.signing_key),
            fingerprint=alias.signing_key,
        )

    async def _certificate(self, fingerprint: str) -> bytes:
        """Return our certificate, exported at most every ``EXPORT_KEPT``."""
        now = self._clock.now()
        kept = self._exports.get(fingerprint)
        if kept is None or not timedelta(0) <= now - kept[0] < EXPORT_KEPT:
            try:
                kept = (now, await self._openpgp.export(fingerprint, minimal=True))
            except CannotEncrypt:
                raise role_key_unusable() from None
            self._exports[fingerprint] = kept
        return kept[1]

    async def _written(self, head: compose.Letterhead, letter: Letter) -> bytes:
        body, signer = letter.text.body, letter.alias.signing_key
        if letter.encrypt_to is None:
            signed = compose.payload(head, body, encrypted=False)
            signature = await self._openpgp.sign_detached(signed, signer=signer)
            return compose.signed_mail(head, signed, signature.armor, signature.micalg)
        armor = await self._openpgp.encrypt_and_sign(
            compose.payload(head, body, encrypted=True),
            recipients=[letter.encrypt_to, signer],
            signer=signer,
        )
        return compose.encrypted_mail(head, armor)


def alias_of(case: Case, aliases: Mapping[str, Alias]) -> Alias:
    """Return the alias of a case.  Raises Deferral where it is not configured any more."""
    alias = aliases.get(case.route.alias)
    if alias is None:
        raise Deferral(
            "alias-not-configured",
            "The alias of this case is not in the configuration.",
            alarm=True,
        )
    return alias


def role_key_unusable() -> Deferral:
    """Return the fault of ours that our own key cannot be used."""
    return Deferral("role-key-unusable", "Our own key cannot encrypt now.", alarm=True)
