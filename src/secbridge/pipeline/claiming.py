"""Who handles the case?  When somebody takes it, the others behind the alias are told by mail.

Such a mail holds the case id, a name and the address of the issue, and nothing of the report; so it
may leave in clear where a member's key is not known.  It is told once for each time that the case
changes hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from secbridge import maillog
from secbridge.model.alias import Alias, Member
from secbridge.model.case import Case
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.pipeline.letters import Letter, LetterDesk, alias_of, role_key_unusable
from secbridge.ports import CannotEncrypt, Cases, Clock, OpenPGP, Outbox, Wording
from secbridge.rules import identity, letters, replies
from secbridge.rules.loops import is_plain_address


class Claiming:
    """Tells the members of an alias who has taken a case."""

    def __init__(
        self,
        openpgp: OpenPGP,
        cases: Cases,
        outbox: Outbox,
        wording: Wording,
        aliases: Mapping[str, Alias],
        *,
        secret: bytes,
        clock: Clock,
    ) -> None:
        self._openpgp = openpgp
        self._cases = cases
        self._outbox = outbox
        self._wording = wording
        self._aliases = aliases
        self._secret = secret
        self._desk = LetterDesk(openpgp, secret=secret, clock=clock)

    async def announce(self, case: Case, handler: str, *, by: str) -> int:
        """Queue a mail to each member but who took the case; return how many were new.

        ``handler`` is the name that ``Cases.take_case`` has recorded, and must be recorded by then:
        the guard compares with it.  ``by`` is who said so.  Doing it twice tells nobody twice.
        Raises Deferral for faults of ours; trying again is harmless.
        """
        case = replace(await self._cases.get_case(case.id) or case, handler=handler)
        alias = alias_of(case, self._aliases)
        earlier = [
            row.mail.step
            for row in await self._outbox.mails_of_case(case.id)
            if row.mail.kind is ReplyKind.CLAIM
        ]
        turn = self._turn(case, alias, earlier)
        mails: list[OutgoingMail] = []
        for member in _told(alias, handler, by):
            step = self._step(case, turn, member)
            if step not in earlier:
                mails.append(await self._mail(case, alias, member, step))
        if mails and await self._outbox.post(mails):
            maillog.announced(case.id, len(mails))
            return len(mails)
        return 0

    def _turn(self, case: Case, alias: Alias, earlier: Sequence[str]) -> int:
        """Return the number of this hand-over: that of the last one, if it said the same.

        It is how many mails were sent for those before it, so that a case which comes back to
        somebody is announced again.
        """
        for turn in range(len(earlier)):
            if earlier[-1] in {self._step(case, turn, member) for member in alias.members}:
                return turn
        return len(earlier)

    def _step(self, case: Case, turn: int, member: Member) -> str:
        key = f"claim {turn} {case.handler} {member.address}"
        return f"{replies.CLAIM}{identity.letter_number(self._secret, case.id, key)}"

    async def _mail(self, case: Case, alias: Alias, member: Member, step: str) -> OutgoingMail:
        """Return the finished mail to a member, encrypted where we have a usable key."""
        fingerprint = await self._fingerprint(member)
        try:
            (mail,) = await self._desk.finish(self._letter(case, alias, member, step, fingerprint))
        except CannotEncrypt as exc:
            if exc.fingerprint in alias.role_keys:
                raise role_key_unusable() from None
            (mail,) = await self._desk.finish(self._letter(case, alias, member, step, None))
        return mail

    async def _fingerprint(self, member: Member) -> str | None:
        """Return the key of the roster, if the ring has it and it can be used now."""
        if not member.fingerprint:
            return None
        certificate = await self._openpgp.certificate(member.fingerprint)
        if certificate is None or certificate.problem is not None:
            return None
        return certificate.fingerprint

    def _letter(
        self, case: Case, alias: Alias, member: Member, step: str, fingerprint: str | None
    ) -> Letter:
        return Letter(
            case=case,
            alias=alias,
            kind=ReplyKind.CLAIM,
            step=step,
            to=member.address,
            text=self._wording.write(
                ReplyKind.CLAIM,
                alias=alias,
                case_id=case.id,
                encrypted=fingerprint is not None,
                facts=letters.claim_facts(case),
            ),
            must_encrypt=False,
            encrypt_to=fingerprint,
            automatic=False,
            copy=False,
        )


def _told(alias: Alias, handler: str, by: str) -> list[Member]:
    """Return whom to tell: each address once, and not who took the case with their own hand.

    Whom somebody else has put in charge is told as well.
    """
    told = {
        member.address.casefold(): member
        for member in reversed(alias.members)
        if is_plain_address(member.address)
        and not (letters.is_called(member, handler) and letters.is_called(member, by))
    }
    return [member for member in alias.members if told.get(member.address.casefold()) is member]
