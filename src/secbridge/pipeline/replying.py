"""What does the reporter hear, and in which bytes?  Built once, stored, and sent as they are.

Nothing of the report is in an answer, not even the subject.

Where the acknowledgement must be encrypted and there is no key for it, it is held: a fixed notice
says to the reporter what is missing, once, and the team is told what would end the wait.  Who goes
on in clear in an encrypted thread is asked, once, to encrypt.

What machines decide to send has budgets (``rules.budgets``): beyond them nobody is answered, and
the issue says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from secbridge import maillog
from secbridge.model.alias import Alias
from secbridge.model.case import Case, KeyBinding, MailClass
from secbridge.model.delivery import Delivery, State
from secbridge.model.issue import CommentDraft
from secbridge.model.message import CertificateSource, Message
from secbridge.model.reply import OutgoingMail
from secbridge.pipeline.keychanges import learn
from secbridge.pipeline.keyfinding import SOURCES, find_key
from secbridge.pipeline.letters import Letter, LetterDesk, role_key_unusable
from secbridge.ports import (
    CannotEncrypt,
    Cases,
    Clock,
    KeyChange,
    KeyFinder,
    OpenPGP,
    Outbox,
    Wording,
)
from secbridge.rules import commands, replies
from secbridge.rules.budgets import Budgets, Spent, over_budget
from secbridge.rules.drafting import keys, unanswered
from secbridge.rules.loops import is_plain_address
from secbridge.rules.replies import Answer, KeyChanged, KeyFound, KeyProblem, KeySearch, NoKey, Plan
from secbridge.rules.threads import Participant

HELD = timedelta(hours=6)
"""How often a held answer looks for a key by itself, unless the operator chose otherwise."""

BUDGETS = Budgets()
"""How many mails machines may decide to send, unless the operator chose otherwise."""

EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Since when the answers in a case are counted."""

_MAY_LEARN = frozenset({None, "not-a-new-case"})
"""Why a follow-up is not answered when it is a person's mail all the same."""

_MAY_ASK = frozenset({"not-a-new-case", "answered-already"})
"""Why a follow-up gets no acknowledgement when its author may be asked to encrypt all the same."""


@dataclass(frozen=True, slots=True, repr=False)
class News:
    """What the team is told on the issue, once; ``effect`` is its name within the case.

    ``proposal`` is recorded when it was told: from then on the team may accept it.
    """

    effect: str
    draft: CommentDraft
    proposal: KeyChange | None = None

    def __repr__(self) -> str:
        return f"News({self.effect})"


@dataclass(frozen=True, slots=True)
class Letters:
    """Mails that leave now; nothing is held back for this delivery."""

    mails: tuple[OutgoingMail, ...]
    news: News | None = None


@dataclass(frozen=True, slots=True)
class Waits:
    """The acknowledgement is held until ``until`` or until a key comes; ``mails`` leave now."""

    why: str
    until: datetime
    mails: tuple[OutgoingMail, ...] = ()
    news: News | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No answer is sent, for a reason with a stable code."""

    why: str
    news: News | None = None


@dataclass(frozen=True, slots=True, repr=False)
class _Occasion:
    """A mail that may be answered, its case, and what was answered in it by now (steps).

    ``participant`` is who wrote it, None where it opened the case.
    """

    delivery: Delivery
    case: Case
    message: Message
    alias: Alias
    answered: AbstractSet[str]
    participant: Participant | None = None

    @property
    def must_encrypt(self) -> bool:
        """Whether the thread is an encrypted one, by an earlier mail or by this."""
        return self.case.must_encrypt or self.message.was_encrypted

    @property
    def is_follow_up(self) -> bool:
        """Whether the mail joined a case that was there."""
        return self.delivery.state is State.COMMENTED

    @property
    def lacks_encryption(self) -> bool:
        """Whether the reporter goes on in clear in an encrypted thread, and nobody said so yet."""
        verdict = self.delivery.verdict
        return (
            self.participant is Participant.REPORTER
            and verdict is not None
            and verdict.mail_class is MailClass.FOLLOW_UP
            and self.case.must_encrypt
            and not self.message.was_encrypted
            and replies.PLEASE_ENCRYPT.step not in self.answered
        )


class Answering:
    """Builds the answers of one installation.

    ``held`` is how often a held answer looks for a key by itself; ``mark`` is what a comment begins
    with that is a command for us.  Mails of several cases are answered at a time, so the budgets
    may be exceeded by as many mails as there are workers.
    """

    def __init__(
        self,
        openpgp: OpenPGP,
        cases: Cases,
        wording: Wording,
        *,
        outbox: Outbox,
        secret: bytes,
        clock: Clock,
        finder: KeyFinder | None = None,
        sources: Sequence[CertificateSource] = SOURCES,
        held: timedelta = HELD,
        mark: str = commands.MARK,
        budgets: Budgets = BUDGETS,
    ) -> None:
        self._openpgp = openpgp
        self._cases = cases
        self._wording = wording
        self._desk = LetterDesk(openpgp, secret=secret, clock=clock)
        self._clock = clock
        self._finder = finder
        self._sources = tuple(sources)
        self._held = held
        self._mark = mark
        self._outbox = outbox
        self._budgets = budgets

    async def answer(
        self,
        *,
        delivery: Delivery,
        case: Case,
        message: Message,
        alias: Alias,
        participant: Participant | None = None,
    ) -> Letters | Waits | NoAnswer:
        """Return what leaves for a mail of a case, what waits, and what the team is to know.

        ``participant`` is who wrote it, None where that is not known or the mail opened the case.
        Raises Deferral for faults of ours; then nothing was sent, and trying again is harmless.
        """
        answered = await self._cases.answers_of(case.id)
        occasion = _Occasion(delivery, case, message, alias, answered, participant)
        refusal = self._refusal(delivery, message)
        if refusal is None and not answered.isdisjoint(replies.ACKNOWLEDGEMENTS):
            refusal = "answered-already"
        if refusal is not None:
            return await self._unacknowledged(refusal, occasion)
        key = await self._key(occasion)
        plan = self._plan(occasion, key)
        if (code := await self._too_many(plan, occasion)) is not None:
            if isinstance(key, KeyFound):  # people may still answer, and need it
                await self._bind(case, message.author or "", key)
            draft = unanswered.draft_unanswered(case.id, code, mark=self._mark)
            return NoAnswer(code, News(f"unanswered {code}", draft))
        try:
            mails = await self._mails(plan.answer, occasion, key)
        except CannotEncrypt as exc:
            key, plan = self._lost(exc, occasion)
            mails = await self._mails(plan.answer, occasion, key)
        return await self._outcome(plan, mails, occasion, key)

    def _lost(self, exc: CannotEncrypt, occasion: _Occasion) -> tuple[KeySearch, Plan]:
        """Return what is answered where a key that was there a moment ago cannot be used."""
        if exc.fingerprint in occasion.alias.role_keys:
            raise role_key_unusable() from None
        key = KeyProblem(exc.code, exc.fingerprint)
        return key, self._plan(occasion, key)

    def _plan(self, occasion: _Occasion, key: KeySearch) -> Plan:
        return replies.choose_answer(
            occasion.message.protection,
            must_encrypt=occasion.must_encrypt,
            key=key,
            paused=occasion.alias.paused,
        )

    async def _outcome(
        self, plan: Plan, mails: tuple[OutgoingMail, ...], occasion: _Occasion, key: KeySearch
    ) -> Letters | Waits | NoAnswer:
        if plan.held is None:
            news = await self._acknowledged(occasion, key) if _is_acknowledgement(plan) else None
            return Letters(mails, news) if mails else NoAnswer("answered-already")
        news = await self._waiting(plan, occasion, key)
        if not mails and isinstance(key, NoKey):  # else the mail brings what we asked for
            asked = await self._asked_to_encrypt(None, occasion)
            mails, news = asked.mails, news or asked.news
        if await self._cases.is_answer_held(occasion.case.id, besides=occasion.delivery.id):
            return Letters(mails, news) if mails else NoAnswer("answer-held-already", news)
        return Waits(plan.held, self._clock.now() + self._held, mails, news)

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

    async def _unacknowledged(self, refusal: str, occasion: _Occasion) -> Letters | NoAnswer:
        """Return what becomes of a mail without an acknowledgement."""
        news = await self._learned(occasion)
        asked = await self._asked_to_encrypt(refusal, occasion)
        if asked.mails:
            return Letters(asked.mails, news)
        return NoAnswer(refusal, news or asked.news)

    async def _asked_to_encrypt(self, refusal: str | None, occasion: _Occasion) -> Letters:
        """Ask the reporter to encrypt, where that is to be; else the team hears why nobody did.

        ``refusal`` is why the mail is not acknowledged, None where only a key is missing.
        """
        if not occasion.lacks_encryption:
            return Letters(())
        why = None if refusal is None or refusal in _MAY_ASK else refusal
        why = why or await self._over_budget(occasion)
        if why is None:
            return Letters(await self._mails(replies.PLEASE_ENCRYPT, occasion, NoKey()))
        draft = unanswered.draft_not_asked(occasion.case.id, why)
        return Letters((), News(f"not-asked-to-encrypt {why}", draft))

    async def _too_many(self, plan: Plan, occasion: _Occasion) -> str | None:
        """Return which budget forbids what a plan sends; where nothing leaves, none does."""
        if plan.answer is None or plan.answer.step in occasion.answered:
            return None
        return await self._over_budget(occasion)

    async def _over_budget(self, occasion: _Occasion) -> str | None:
        """Return which budget forbids one more mail, with an alarm, or None."""
        since = self._clock.now() - self._budgets.within
        sender = occasion.message.author or ""
        to_sender, in_total = await self._outbox.automatic_to(sender, since)
        in_case = await self._outbox.automatic_since(EVER, case_id=occasion.case.id)
        spent = Spent(in_case=in_case, to_sender=to_sender, in_total=in_total)
        code = over_budget(spent, self._budgets)
        if code is not None:
            maillog.over_budget(occasion.delivery.id, occasion.case.id, code)
        return code

    async def _key(self, occasion: _Occasion) -> KeySearch:
        message, author = occasion.message, occasion.message.author
        if author is None or not replies.needs_key(
            message.protection, must_encrypt=occasion.must_encrypt
        ):
            return NoKey()
        return await find_key(
            message,
            author,
            occasion.case,
            self._cases,
            self._openpgp,
            finder=self._finder,
            sources=self._sources,
            received_at=occasion.delivery.received_at,
        )

    # ── What the team is told ─────────────────────────────────────────────────────────────────────

    async def _learned(self, occasion: _Occasion) -> News | None:
        """Take note of the key that a follow-up of the reporter brings, though it is not answered.

        Mail of somebody else on the thread, and of machines, says nothing about the reporter's key.
        """
        verdict = occasion.delivery.verdict
        if verdict is None or verdict.mail_class is not MailClass.FOLLOW_UP:
            return None
        if verdict.reply_refused_because not in _MAY_LEARN or not occasion.must_encrypt:
            return None
        if not replies.is_by_reporter(occasion.message, occasion.case):
            return None
        change = await learn(
            occasion.message,
            occasion.case,
            self._cases,
            self._openpgp,
            sources=self._sources,
            received_at=occasion.delivery.received_at,
            now=self._clock.now(),
        )
        return None if change is None else await self._proposed(change, occasion, None, held=False)

    async def _waiting(self, plan: Plan, occasion: _Occasion, key: KeySearch) -> News | None:
        """Return why the acknowledgement waits, unless it was told with the same notice before."""
        case, why = occasion.case, plan.held or ""
        if isinstance(key, KeyChanged):
            return await self._proposed(key, occasion, plan.answer, held=True)
        if plan.answer is None or plan.answer.step in occasion.answered:
            return None
        return News(f"held {why}", keys.draft_held(case.id, why, key, plan.answer))

    async def _proposed(
        self, change: KeyChanged, occasion: _Occasion, notice: Answer | None, *, held: bool
    ) -> News | None:
        """Return the question whether another key is the reporter's, unless it was asked before."""
        case = occasion.case
        for known in await self._cases.key_changes(case.id):
            if known.fingerprint == change.offered and known.accepted_at is None:
                return None
        if notice is not None and notice.step in occasion.answered:
            notice = None
        now = self._clock.now()
        proposal = KeyChange(case.id, case.reporter or "", change.offered, change.source, now)
        draft = keys.draft_key_change(case.id, change, notice, held=held, mark=self._mark)
        return News(f"key-change {change.offered} {change.bound or ''}", draft, proposal)

    async def _acknowledged(self, occasion: _Occasion, key: KeySearch) -> News | None:
        """Return that an acknowledgement goes out late, and what is wrong with a key that works."""
        late = await self._is_late(occasion, key)
        if not late and not (isinstance(key, KeyFound) and key.warnings):
            return None
        return News("acknowledged", keys.draft_answered(occasion.case.id, key, late=late))

    async def _is_late(self, occasion: _Occasion, key: KeySearch) -> bool:
        """Whether the team was told, or can see, that no acknowledgement went out at once."""
        if occasion.answered or occasion.is_follow_up:
            return True
        if not isinstance(key, KeyFound) or key.binding is None or not key.binding.accepted_by:
            return False
        return bool(await self._cases.key_changes(occasion.case.id))

    # ── The mails ─────────────────────────────────────────────────────────────────────────────────

    async def _mails(
        self, answer: Answer | None, occasion: _Occasion, key: KeySearch
    ) -> tuple[OutgoingMail, ...]:
        """Return the finished mails of an answer, none where it went out before.

        Raises CannotEncrypt.
        """
        if answer is None or answer.step in occasion.answered:
            return ()
        outdated = await self._cases.outdated_answers(occasion.case.id)
        while answer.step in outdated:
            answer = replace(answer, turn=answer.turn + 1)
        mails = await self._desk.finish(self._letter(answer, occasion))
        if isinstance(key, KeyFound) and answer.encrypt_to is not None:
            await self._bind(occasion.case, occasion.message.author or "", key)
        return mails

    def _letter(self, answer: Answer, occasion: _Occasion) -> Letter:
        case, alias, headers = occasion.case, occasion.alias, occasion.message.headers
        return Letter(
            case=case,
            alias=alias,
            kind=answer.kind,
            step=answer.step,
            to=occasion.message.author or "",
            text=self._wording.write(
                answer.kind,
                alias=alias,
                case_id=case.id,
                encrypted=answer.encrypt_to is not None,
                code=answer.code,
                warnings=answer.warnings,
                language=case.language,
            ),
            must_encrypt=occasion.must_encrypt,
            encrypt_to=answer.encrypt_to,
            in_reply_to=headers.message_id,
            references=headers.references,
        )

    async def _bind(self, case: Case, address: str, key: KeyFound) -> None:
        """Remember the certificate: trust on first use, for this case too where another made it."""
        if case.key is None:
            new = KeyBinding(address, key.fingerprint, key.source, self._clock.now())
            await self._cases.bind_key(case.id, key.binding or new)


def _is_acknowledgement(plan: Plan) -> bool:
    return plan.answer is not None and plan.answer.step in replies.ACKNOWLEDGEMENTS
