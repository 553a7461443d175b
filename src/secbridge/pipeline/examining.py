"""What is this mail, and what would we do with it?  Open, judge, route: without any effect.

The daemon and ``secbridge inspect`` both ask here, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from secbridge.mail.parse import canonical_body_hash
from secbridge.model.alias import Alias
from secbridge.model.case import Case, KeyBinding, Verdict
from secbridge.model.envelope import Target
from secbridge.model.message import Message, SignatureVerdict
from secbridge.ports import Cases, Opener
from secbridge.rules import identity, replies
from secbridge.rules.structure import same_address
from secbridge.rules.triage import Known, TriagePolicy, judge


@dataclass(frozen=True, slots=True, repr=False)
class Examined:
    """A mail, opened and judged; ``case`` is the one it belongs to already, or None."""

    message: Message
    verdict: Verdict
    case: Case | None = None

    def __repr__(self) -> str:
        return f"Examined({self.message!r}, {self.verdict.mail_class})"


class Examiner:
    """Opens and judges mails for the aliases of one installation.

    ``cases`` is None where there is no store to ask (``inspect`` without a configuration): then
    nothing is known of earlier mails, and ``signer_is_known`` stays None.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        policy: TriagePolicy,
        cases: Cases | None = None,
        secret: bytes | None = None,
    ) -> None:
        self._opener = opener
        self._policy = policy
        self._cases = cases
        self._secret = secret

    async def examine(
        self, raw: bytes, *, alias: Alias, reverse_path: str, target: Target
    ) -> Examined:
        """Return the opened mail, its verdict and the case it continues."""
        message = await self._opener.open(raw)
        known, case, binding = await self._recall(raw, message, alias, target)
        message = with_known_signers(message, binding, asked=self._cases is not None)
        verdict = judge(
            message,
            reverse_path=reverse_path,
            target=target,
            known=known,
            policy=self._policy,
        )
        return Examined(message, verdict, case)

    async def _recall(
        self, raw: bytes, message: Message, alias: Alias, target: Target
    ) -> tuple[Known, Case | None, KeyBinding | None]:
        """Return what the store knows: is it our own mail, which thread, which key."""
        if self._cases is None:
            return Known(), None, None
        if (own := await self._own_case(raw, message)) is not None:
            return Known(own=True, case_id=own.id, thread_must_encrypt=own.must_encrypt), own, None
        case = await self._thread(message, alias, target)
        binding = case.key if case else None
        if binding is None and message.author is not None:
            binding = await self._cases.key_for(alias.address, message.author)
        known = Known(
            case_id=case.id if case else None,
            thread_must_encrypt=case.must_encrypt if case else False,
            awaits_answer=await self._awaits_answer(message, case),
        )
        return known, case, binding

    async def _awaits_answer(self, message: Message, case: Case | None) -> bool:
        """Return whether this is mail of a reporter whose case was never acknowledged.

        Nobody could read his first mail, say, or it came in a way that forbids an answer.
        """
        if self._cases is None or case is None or case.reporter is None or message.author is None:
            return False
        if not same_address(case.reporter, message.author):
            return False
        answered = await self._cases.answers_of(case.id)
        return answered.isdisjoint(replies.ACKNOWLEDGEMENTS)

    async def _own_case(self, raw: bytes, message: Message) -> Case | None:
        """Return the case of a mail of ours that came back, only if id, HMAC and body all agree."""
        message_id = message.headers.message_id
        if self._cases is None or self._secret is None or message_id is None:
            return None
        sent = await self._cases.own_mail(message_id)
        origin = message.headers.first(identity.ORIGIN_HEADER)
        if sent is None or origin is None:
            return None
        if not identity.verify_origin(
            self._secret, origin, case_id=sent.case_id, step=sent.step, message_id=message_id
        ):
            return None
        if sent.body_hash != canonical_body_hash(raw):
            return None
        return await self._cases.get_case(sent.case_id)

    async def _thread(self, message: Message, alias: Alias, target: Target) -> Case | None:
        """Return the case that the address token or a Message-ID of ours names."""
        if self._cases is None:
            return None
        if target.token is not None:
            case = await self._cases.case_by_token(alias.address, target.token)
            if case is not None:
                return case
        named = (*message.headers.in_reply_to, *message.headers.references)
        if message.report is not None:
            named += message.report.original_message_ids
        if not named:
            return None
        return await self._cases.case_by_message_ids(alias.address, named)


def with_known_signers(message: Message, binding: KeyBinding | None, *, asked: bool) -> Message:
    """Fill in ``signer_is_known``: is the signer's certificate bound to this reporter?"""
    if not asked or not message.signatures:
        return message
    bound = binding.fingerprint if binding else None
    signatures = tuple(
        replace(
            signature,
            signer_is_known=signature.verdict is SignatureVerdict.GOOD
            and signature.fingerprint == bound,
        )
        for signature in message.signatures
    )
    return replace(message, signatures=signatures)
