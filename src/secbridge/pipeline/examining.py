"""What is this mail, and what would we do with it?  Open, judge, route: without any effect.

The daemon and ``secbridge inspect`` both ask here, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from secbridge.mail.addresses import mailboxes
from secbridge.mail.parse import canonical_body_hash
from secbridge.model.alias import Alias
from secbridge.model.case import Case, KeyBinding, Verdict
from secbridge.model.envelope import Target
from secbridge.model.message import Message, SignatureVerdict
from secbridge.pipeline.opening import OpeningLimits, outside_of
from secbridge.pipeline.rawmail import octets_of
from secbridge.ports import Cases, Opener, RawMail
from secbridge.rules import identity, replies, threads
from secbridge.rules.structure import same_address
from secbridge.rules.threads import Found, Mention, Thread
from secbridge.rules.triage import Known, TriagePolicy, is_doubted, judge

PATIENCE = timedelta(minutes=1)
"""How long after its reception a mail waits for one that it names and that was put off, or that
came later: a mail system may hand over in any order what it kept.

A first failure is over within that time, and a follow-up becomes a comment.  What is put off for
longer may be so for hours, and two linked issues cost less than a report that nobody sees.  One
that came earlier and is at work is waited for without regard to this: its lease ends, whatever
becomes of it.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Examined:
    """A mail, opened and judged; ``case`` is the one it belongs to already, or None.

    ``thread`` says how it joined that case and who wrote it; None for our own mail, and for a mail
    that opens a case.  The latter may ``mention`` another, which it claims to continue.
    ``overtook`` is another delivery that it names and that is in no case yet: what is said here of
    the thread may change with it.
    """

    message: Message
    verdict: Verdict
    case: Case | None = None
    thread: Thread | None = None
    mention: Mention | None = None
    overtook: str | None = None

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
        self,
        raw: bytes | RawMail,
        *,
        alias: Alias,
        reverse_path: str,
        target: Target,
        behind: str | None = None,
    ) -> Examined:
        """Return the opened mail, its verdict and the case it continues.

        ``behind`` is the id of its delivery while earlier ones may be on their way to a case.
        """
        message = await self._opener.open(raw)
        # Asked in this order: what is not ahead any more is where the look-up finds it.
        ahead = await self._ahead(message, behind)
        recalled = await self._recall(raw, message, alias, target)
        case, known = recalled.case, recalled.known
        binding = await self._binding(message, case, alias) if not known.own else None
        message = with_known_signers(message, binding, asked=self._cases is not None)
        verdict = judge(
            message, reverse_path=reverse_path, target=target, known=known, policy=self._policy
        )
        overtook = ahead if case is None else None
        return Examined(message, verdict, case, known.thread, known.mention, overtook)

    async def _ahead(self, message: Message, behind: str | None) -> str | None:
        """Return another delivery that a mail names and that is in no case yet, or None."""
        named = _named(message)
        if self._cases is None or behind is None or not named:
            return None
        for other in await self._cases.ahead_of(behind, patience=PATIENCE):
            header = outside_of(other.beginning, OpeningLimits()).headers
            if header.message_id in named:
                return other.delivery_id
        return None

    async def _recall(
        self, raw: bytes | RawMail, message: Message, alias: Alias, target: Target
    ) -> _Recalled:
        """Return what the store knows: is it our own mail, which thread, who in it."""
        if self._cases is None:
            return _Recalled(Known())
        if (own := await self._own_case(raw, message)) is not None:
            known = Known(own=True, case_id=own.id, thread_must_encrypt=own.must_encrypt)
            return _Recalled(known, own)
        found = await self._found(self._cases, message, alias, target)
        tied = threads.decide(
            message,
            found,
            roster=alias.members,
            recipients=recipients_of(message),
            proven=not is_doubted(message, self._policy),
        )
        if not isinstance(tied, Thread):
            return _Recalled(Known(mention=tied))
        case = found.case(tied.case_id)
        known = Known(
            case_id=tied.case_id,
            thread_must_encrypt=case.must_encrypt,
            awaits_answer=await self._awaits_answer(message, case),
            thread=tied,
        )
        return _Recalled(known, case)

    async def _binding(
        self, message: Message, case: Case | None, alias: Alias
    ) -> KeyBinding | None:
        """Return the certificate of the reporter: the case's, else that of the author's address."""
        if self._cases is None or (case is not None and case.key is not None):
            return case.key if case else None
        return await self._cases.key_for(alias.address, message.author) if message.author else None

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

    async def _own_case(self, raw: bytes | RawMail, message: Message) -> Case | None:
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
        if sent.body_hash != canonical_body_hash(await octets_of(raw)):
            return None
        return await self._cases.get_case(sent.case_id)

    async def _found(self, cases: Cases, message: Message, alias: Alias, target: Target) -> Found:
        """Return the cases of an alias that a mail names.

        A bounce names what it returns, too; only a mail of ours can be meant by that.  So does a
        mail of ours to which somebody on the way added a footer, by its own Message-ID.
        """
        address, headers = alias.address, message.headers
        named = _named(message)
        itself = (headers.message_id,) if headers.message_id is not None else ()
        returned = message.report.original_message_ids if message.report is not None else ()
        found = Found(
            token=await cases.case_by_token(address, target.token) if target.token else None,
            references=await cases.case_by_message_ids(address, (*named, *returned, *itself))
            if named or returned or itself
            else None,
            came_in=await cases.case_by_incoming_ids(address, named, author=message.author)
            if named
            else None,
        )
        if found != Found():
            return found
        return Found(subject=await self._named_in_subject(cases, message, address))

    async def _named_in_subject(self, cases: Cases, message: Message, alias: str) -> Case | None:
        """Return the first case of an alias that a subject names, the opened one before the outer.

        The number of another alias's case says nothing to those behind this one.
        """
        for case_id in threads.cases_in(message.subject, message.outer_subject):
            case = await cases.get_case(case_id)
            if case is not None and case.route.alias == alias:
                return case
        return None


@dataclass(frozen=True, slots=True, repr=False)
class _Recalled:
    """What the store knows of a mail, and the case that it is part of."""

    known: Known
    case: Case | None = None


def _named(message: Message) -> tuple[str, ...]:
    """Return the Message-IDs of the mails that a mail goes on with, by its own account."""
    return (*message.headers.in_reply_to, *message.headers.references)


def recipients_of(message: Message) -> tuple[str, ...]:
    """Return the addresses in To and Cc of the outer header; those of Bcc are nobody's to know."""
    fields = message.headers.fields
    values = (*fields.get("to", ()), *fields.get("cc", ()))
    return tuple(spec for value in values for spec in mailboxes(value)[0])


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
