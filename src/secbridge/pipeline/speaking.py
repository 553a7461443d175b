"""What does the team have said to a reporter?  A letter, built once, or why there is none.

A command of a person becomes one mail for ever: its step is made of the event that asked for it, so
that a command which is heard twice, or done again after a crash, finds what it did.  The typed text
is cleaned first; where the thread is an encrypted one, or a key is bound, the letter is encrypted
to that key and to no other.  What cannot be said is a code, and nothing was stored then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from secbridge import maillog
from secbridge.model.alias import Alias
from secbridge.model.case import Case, KeyBinding
from secbridge.model.delivery import Outgoing
from secbridge.model.reply import LetterFacts, NotSaid, ReplyText, Said, Saying
from secbridge.pipeline.keyfinding import is_anothers, still_usable
from secbridge.pipeline.letters import Letter, LetterDesk, alias_of, role_key_unusable
from secbridge.ports import CannotEncrypt, Cases, Clock, OpenPGP, Outbox, Wording
from secbridge.rules import commands, identity, letters, replies
from secbridge.rules.leaving import cleaned
from secbridge.rules.replies import KeyProblem

TEAM, MEMBER = "team", "member"
"""Whose name stands below a letter."""


@dataclass(frozen=True, slots=True, repr=False)
class _Plan:
    """A letter to be: its words, and the binding of the key that it is encrypted to."""

    case: Case
    alias: Alias
    text: ReplyText
    removed: tuple[str, ...]
    key: KeyBinding | None

    @property
    def said(self) -> Said:
        """What the issue is told of it."""
        fingerprint = self.key.fingerprint if self.key else None
        return Said(
            self.text.subject, self.text.body, fingerprint, self.removed, waits=self.case.on_hold
        )


class Speaking:
    """Says what the team wants said.

    ``mark`` and ``slash`` are how commands begin (``rules.leaving`` takes such lines out);
    ``sign_as`` is ``TEAM`` or ``MEMBER``.
    """

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
        mark: str = commands.MARK,
        slash: bool = True,
        sign_as: str = TEAM,
    ) -> None:
        self._openpgp = openpgp
        self._cases = cases
        self._outbox = outbox
        self._wording = wording
        self._aliases = aliases
        self._secret = secret
        self._desk = LetterDesk(openpgp, secret=secret, clock=clock)
        self._mark = mark
        self._slash = slash
        self._sign_as = sign_as

    async def say(self, case: Case, saying: Saying) -> Said | NotSaid:
        """Queue what is said, once for each ``saying.key``, and return what is on its way.

        Raises Deferral for faults of ours; then nothing was queued, and trying again is harmless.
        """
        case = await self._cases.get_case(case.id) or case
        step = self._step(case, saying)
        earlier = await self._outbox.posted(case.id, step)
        if earlier is not None:
            return self._again(case, saying, earlier)
        plan = await self._plan(case, saying)
        if isinstance(plan, NotSaid):
            return plan
        letter = await self._letter(plan, saying, step)
        try:
            mails = await self._desk.finish(letter)
        except CannotEncrypt as exc:
            return _lost(exc, plan.alias)
        if plan.key is not None and case.key is None:
            await self._cases.bind_key(case.id, plan.key)
        is_new = await self._outbox.post(mails)
        maillog.said(case.id, saying.kind.value, encrypted=plan.key is not None, waits=case.on_hold)
        return replace(plan.said, again=not is_new)

    async def preview(self, case: Case, saying: Saying) -> Said | NotSaid:
        """Return what ``say`` would say now; nothing is stored, and nothing leaves."""
        case = await self._cases.get_case(case.id) or case
        plan = await self._plan(case, saying)
        return plan if isinstance(plan, NotSaid) else plan.said

    def _step(self, case: Case, saying: Saying) -> str:
        if not saying.kind.is_letter:
            raise ValueError("only a letter can be said")
        number = identity.letter_number(self._secret, case.id, saying.key)
        return f"{replies.LETTER}{number}"

    def _again(self, case: Case, saying: Saying, earlier: Outgoing) -> Said:
        """Return what went before, as it is typed now; its text was not kept.

        ``changed`` only where what is typed now could not have been that letter: whoever knows the
        event knows better.
        """
        fingerprint = next(iter(earlier.mail.encrypted_to), None)
        written = self._written(case, saying, encrypted=fingerprint is not None)
        if isinstance(written, NotSaid):
            return Said("", "", fingerprint, waits=case.on_hold, again=True, changed=True)
        text, removed = written
        return Said(text.subject, text.body, fingerprint, removed, waits=case.on_hold, again=True)

    async def _plan(self, case: Case, saying: Saying) -> _Plan | NotSaid:
        why = letters.refused_address(case.reporter, self._aliases)
        if why is not None:
            return NotSaid(why)
        key = await self._key(case, case.reporter or "")
        if isinstance(key, NotSaid):
            return key
        written = self._written(case, saying, encrypted=key is not None)
        if isinstance(written, NotSaid):
            return written
        text, removed = written
        return _Plan(case, alias_of(case, self._aliases), text, removed, key)

    async def _letter(self, plan: _Plan, saying: Saying, step: str) -> Letter:
        ids = await self._thread(plan.case)
        return Letter(
            case=plan.case,
            alias=plan.alias,
            kind=saying.kind,
            step=step,
            to=plan.case.reporter or "",
            text=plan.text,
            must_encrypt=plan.case.must_encrypt,
            encrypt_to=plan.key.fingerprint if plan.key else None,
            in_reply_to=ids[-1] if ids else None,
            references=ids[:-1],
            automatic=False,
        )

    async def _thread(self, case: Case) -> tuple[str, ...]:
        """Return what a letter answers: the reporter's mails, else our own to the reporter."""
        if ids := await self._cases.incoming_ids(case.id):
            return tuple(ids)
        own = await self._outbox.mails_of_case(case.id)
        return tuple(one.mail.message_id for one in own if one.mail.recipient == case.reporter)

    # ── To which key? ─────────────────────────────────────────────────────────────────────────────

    async def _key(self, case: Case, reporter: str) -> KeyBinding | NotSaid | None:
        """Return the binding of the key to write to, None to write in clear, or why neither.

        One that a later case made says nothing about who wrote this one (``keyfinding``).
        """
        binding = case.key or await self._cases.key_for(case.route.alias, reporter)
        if binding is None or is_anothers(binding, case):
            return await self._without_key(case) if case.must_encrypt else None
        found = await still_usable(binding, reporter, self._openpgp)
        if not isinstance(found, KeyProblem):
            return binding
        offered = await self._offered(case, binding)
        if offered is not None:
            return NotSaid(replies.KEY_CHANGED, offered)
        return NotSaid(f"{replies.KEY_UNUSABLE}{found.code}", found.fingerprint)

    async def _without_key(self, case: Case) -> NotSaid:
        """Say whether a key waits for the team's word, or whether there is none at all."""
        offered = await self._offered(case, None)
        return NotSaid(replies.KEY_CHANGED, offered) if offered else NotSaid(replies.NO_KEY)

    async def _offered(self, case: Case, binding: KeyBinding | None) -> str | None:
        """Return the newest certificate that came since a binding and that nobody accepted."""
        offered = [
            change.fingerprint
            for change in await self._cases.key_changes(case.id)
            if change.accepted_at is None and (not binding or change.seen_at >= binding.bound_at)
        ]
        return offered[-1] if offered else None

    # ── In which words? ───────────────────────────────────────────────────────────────────────────

    def _written(
        self, case: Case, saying: Saying, *, encrypted: bool
    ) -> tuple[ReplyText, tuple[str, ...]] | NotSaid:
        """Return the finished text and what of the typed one is not in it, or why there is none."""
        if len(saying.text) > letters.LONGEST_TEXT:
            return NotSaid(letters.TOO_LONG)
        typed = letters.plain_text(saying.text)
        if len(typed.encode()) > letters.LARGEST_TEXT:
            return NotSaid(letters.TOO_LONG)
        left = cleaned(typed, url=_url(case), mark=self._mark, slash=self._slash)
        text = letters.plain_text(left.text)
        if saying.kind in letters.NEED_TEXT and letters.says_nothing(text):
            return NotSaid(letters.NOTHING_LEFT)
        facts = self._facts(case, saying, text)
        if facts is None:
            return NotSaid(letters.NOTHING_LEFT)
        finished = self._worded(case, saying, facts, encrypted=encrypted)
        if not self._is_fit(case, saying, finished, encrypted=encrypted):
            return NotSaid(letters.TEXT_UNFIT)
        return finished, left.removed

    def _is_fit(self, case: Case, saying: Saying, text: ReplyText, *, encrypted: bool) -> bool:
        """Return whether the guard, too, would find nothing in the finished text."""
        return letters.is_fit_subject(text.subject, case.id) and letters.is_fit_body(
            saying.kind,
            text.body,
            case,
            mark=self._mark,
            frame=lambda: self._worded(case, saying, letters.NOTHING_SAID, encrypted=encrypted),
        )

    def _facts(self, case: Case, saying: Saying, text: str) -> LetterFacts | None:
        """Return what the template is given, None where a version or an address may not leave."""
        version = letters.one_line(saying.version, longest=commands.LONGEST_VERSION)
        url = letters.one_line(saying.url, longest=commands.LONGEST_URL)
        if cleaned(version, url=_url(case), mark=self._mark, slash=False).removed:
            return None
        if not letters.may_leave(url, case, mark=self._mark):
            return None
        return LetterFacts(
            text=text,
            reason_class=saying.reason_class,
            version=version,
            url=url,
            signer=self._signer(case, saying.by),
        )

    def _worded(
        self, case: Case, saying: Saying, facts: LetterFacts, *, encrypted: bool
    ) -> ReplyText:
        text = self._wording.write(
            saying.kind,
            alias=alias_of(case, self._aliases),
            case_id=case.id,
            encrypted=encrypted,
            language=case.language,
            facts=facts,
        )
        return replace(text, body=letters.plain_text(text.body) + "\n")

    def _signer(self, case: Case, by: str) -> str:
        """Return the name below the text; an account that is not in the roster is nobody's name."""
        if self._sign_as != MEMBER:
            return ""
        members = alias_of(case, self._aliases).members
        member = next((one for one in members if letters.is_called(one, by)), None)
        return letters.one_line(letters.name_of(member)) if member else ""


def _url(case: Case) -> str:
    return case.issue.url if case.issue else ""


def _lost(exc: CannotEncrypt, alias: Alias) -> NotSaid:
    """Return why nothing was said where a key that was there a moment ago cannot be used."""
    if exc.fingerprint in alias.role_keys:
        raise role_key_unusable() from None
    return NotSaid(f"{replies.KEY_UNUSABLE}{exc.code}", exc.fingerprint)
