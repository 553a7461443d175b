"""What does the reporter hear, and in which bytes?  Built once, stored, and sent as they are.

An answer is one mail: the reporter and the alias get the same bytes under the same Message-ID,
each in a transaction of its own.  Nothing of the report is in it, not even the subject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from secbridge.errors import Deferral
from secbridge.mail import compose
from secbridge.mail.parse import canonical_body_hash
from secbridge.model.alias import Alias
from secbridge.model.case import Case, KeyBinding
from secbridge.model.delivery import Delivery
from secbridge.model.message import Message
from secbridge.model.reply import OutgoingMail, ReplyKind
from secbridge.pipeline.keyfinding import find_key
from secbridge.ports import CannotEncrypt, Cases, Clock, OpenPGP, Wording
from secbridge.rules import addresses, identity, replies
from secbridge.rules.loops import is_plain_address
from secbridge.rules.replies import Answer, KeyFound, KeyProblem, KeySearch, NoKey

EXPORT_KEPT = timedelta(minutes=10)
"""How long an exported role certificate is used again."""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer is sent, for a reason with a stable code."""

    why: str


class Answering:
    """Builds the answers of one installation."""

    def __init__(
        self, openpgp: OpenPGP, cases: Cases, wording: Wording, *, secret: bytes, clock: Clock
    ) -> None:
        self._openpgp = openpgp
        self._cases = cases
        self._wording = wording
        self._secret = secret
        self._clock = clock
        self._exports: dict[str, tuple[datetime, bytes]] = {}

    async def answer(
        self, *, delivery: Delivery, case: Case, message: Message, alias: Alias
    ) -> tuple[OutgoingMail, ...] | NoAnswer:
        """Return the finished mails for the first answer of a case, or why there is none.

        Raises Deferral for faults of ours; then nothing was sent, and trying again is harmless.
        """
        refusal = self._refusal(delivery, message)
        if refusal is not None:
            return NoAnswer(refusal)
        message_id = identity.message_id(self._secret, case.id, replies.FIRST_ANSWER, alias.domain)
        if await self._cases.own_mail(message_id) is not None:
            return NoAnswer("answered-already")
        must_encrypt = case.must_encrypt or message.was_encrypted
        key = await self._key(message, case, must_encrypt=must_encrypt)
        answer = replies.choose_answer(message.protection, must_encrypt=must_encrypt, key=key)
        head = await self._letterhead(message, case, alias, message_id)
        content, answer = await self._write(head, answer, case, alias)
        if isinstance(key, KeyFound) and answer.encrypt_to and not key.bound:
            await self._bind(case, head.to, key)
        return self._addressed(content, answer, head, case, alias, must_encrypt=must_encrypt)

    def _refusal(self, delivery: Delivery, message: Message) -> str | None:
        """Return why nobody is answered, or None."""
        verdict = delivery.verdict
        if verdict is None:
            return "not-judged"
        if not verdict.may_reply:
            return verdict.reply_refused_because or "refused"
        if message.author is None:
            return "no-single-author"
        return None if is_plain_address(message.author) else "author-unusable"

    async def _key(self, message: Message, case: Case, *, must_encrypt: bool) -> KeySearch:
        author = message.author
        if author is None or not replies.needs_key(message.protection, must_encrypt=must_encrypt):
            return NoKey()
        return await find_key(message, author, case, self._cases, self._openpgp)

    async def _letterhead(
        self, message: Message, case: Case, alias: Alias, message_id: str
    ) -> compose.Letterhead:
        """Return the header of the answer; its subject follows with the text."""
        headers = message.headers
        return compose.Letterhead(
            author_name=alias.name or alias.local_part,
            author=alias.address,
            to=message.author or "",
            cc=alias.address,
            reply_to=addresses.case_address(alias.address, case.token),
            subject="",
            date=self._clock.now(),
            message_id=message_id,
            origin=identity.origin(
                self._secret,
                case_id=case.id,
                step=replies.FIRST_ANSWER,
                message_id=message_id,
            ),
            in_reply_to=headers.message_id,
            references=compose.thread_of(headers.message_id, headers.references),
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
                raise _role_key_unusable() from None
            self._exports[fingerprint] = kept
        return kept[1]

    # ── Bytes ─────────────────────────────────────────────────────────────────────────────────────

    async def _write(
        self, head: compose.Letterhead, answer: Answer, case: Case, alias: Alias
    ) -> tuple[bytes, Answer]:
        """Return the finished mail; where encrypting fails after all, the notice that says so."""
        if answer.encrypt_to is None:
            return await self._in_clear(head, answer, case, alias), answer
        try:
            return await self._encrypted(head, answer.encrypt_to, case, alias), answer
        except CannotEncrypt as exc:
            if exc.fingerprint in alias.role_keys:
                raise _role_key_unusable() from None
            problem = KeyProblem(exc.code, exc.fingerprint)
        notice = _notice(problem)
        return await self._in_clear(head, notice, case, alias), notice

    async def _encrypted(
        self, head: compose.Letterhead, fingerprint: str, case: Case, alias: Alias
    ) -> bytes:
        text = self._wording.write(
            ReplyKind.ACKNOWLEDGEMENT, alias=alias, case_id=case.id, encrypted=True
        )
        head = replace(head, subject=text.subject)
        armor = await self._openpgp.encrypt_and_sign(
            compose.payload(head, text.body, encrypted=True),
            recipients=[fingerprint, alias.signing_key],
            signer=alias.signing_key,
        )
        return compose.encrypted_mail(head, armor)

    async def _in_clear(
        self, head: compose.Letterhead, answer: Answer, case: Case, alias: Alias
    ) -> bytes:
        text = self._wording.write(
            answer.kind, alias=alias, case_id=case.id, encrypted=False, code=answer.code
        )
        head = replace(head, subject=text.subject)
        signed = compose.payload(head, text.body, encrypted=False)
        signature = await self._openpgp.sign_detached(signed, signer=alias.signing_key)
        return compose.signed_mail(head, signed, signature.armor, signature.micalg)

    # ── Envelopes ─────────────────────────────────────────────────────────────────────────────────

    def _addressed(  # what a row of the outbox consists of
        self,
        content: bytes,
        answer: Answer,
        head: compose.Letterhead,
        case: Case,
        alias: Alias,
        *,
        must_encrypt: bool,
    ) -> tuple[OutgoingMail, ...]:
        """Return one mail for the reporter and one for the alias: the same bytes."""
        number = replies.STEP_NUMBERS[replies.FIRST_ANSWER]
        encrypted_to = (answer.encrypt_to, alias.signing_key) if answer.encrypt_to else ()
        mail = OutgoingMail(
            case_id=case.id,
            step=replies.FIRST_ANSWER,
            kind=answer.kind,
            recipient=head.to,
            reverse_path=addresses.bounce_address(alias.address, case.token, number),
            message_id=head.message_id,
            content=content,
            body_hash=canonical_body_hash(content),
            must_encrypt=must_encrypt,
            encrypted_to=encrypted_to,
        )
        return mail, replace(mail, recipient=alias.address)

    async def _bind(self, case: Case, address: str, key: KeyFound) -> None:
        """Remember the certificate: trust on first use."""
        binding = KeyBinding(address, key.fingerprint, key.source, self._clock.now())
        await self._cases.bind_key(case.id, binding)


def _role_key_unusable() -> Deferral:
    return Deferral("role-key-unusable", "Our own key cannot encrypt now.", alarm=True)


def _notice(problem: KeyProblem) -> Answer:
    if problem.code in replies.KEY_PROBLEMS:
        return Answer(ReplyKind.NOTICE_KEY_UNUSABLE, code=problem.code)
    return Answer(ReplyKind.NOTICE_SEND_KEY)
