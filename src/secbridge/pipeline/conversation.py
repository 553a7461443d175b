"""What does the team say to us, in its own tracker?  Comments are read, commands are done, once.

Each project is asked from time to time what people wrote.  Only a marked comment is a command
(``rules.commands``), only a member with the right role may give one, and every command gets its
answer in the issue: what was done, or why not and what to do.  A comment is an event with a key;
the cursor moves on when all before it have an outcome, so that a crash loses and repeats nothing.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import perf_counter
from typing import assert_never

from secbridge import maillog
from secbridge.errors import Deferral
from secbridge.model.case import Case
from secbridge.model.issue import (
    CommentDraft,
    CommentWritten,
    Facts,
    IssueChanged,
    Paragraph,
    TrackerEvent,
)
from secbridge.pipeline.keychanges import Accepted, KeyChanges, Refused
from secbridge.ports import Cases, EffectKey, Events, HeardBefore, Tracker
from secbridge.rules import commands
from secbridge.rules.commands import Command, CommandName, Mistake
from secbridge.rules.drafting import words

Place = tuple[str, str]
"""A tracker's name and a project in it."""

Said = tuple[str, Sequence[Paragraph | Facts]]
"""The outcome of a command: a code for the journal, and what the issue is told."""


class Conversation:
    """Listens to the trackers of one installation and does what the team asks."""

    def __init__(
        self,
        trackers: Mapping[Place, Tracker],
        *,
        events: Events,
        cases: Cases,
        changes: KeyChanges,
        mark: str = commands.MARK,
    ) -> None:
        self._trackers = trackers
        self._events = events
        self._cases = cases
        self._changes = changes
        self._mark = mark

    async def run(self, stopping: asyncio.Event, *, every: timedelta) -> None:
        """Listen to every project until we stop; one that does not answer holds up no other."""
        while not stopping.is_set():
            await asyncio.gather(*(self._listened(place) for place in self._trackers))
            try:
                async with asyncio.timeout(every.total_seconds()):
                    await stopping.wait()
            except TimeoutError:
                continue

    async def _listened(self, place: Place) -> None:
        try:
            await self.listen(place)
        except Deferral as error:
            seconds = round((error.retry_after or timedelta(0)).total_seconds())
            maillog.deferred("conversation", error.code, seconds, alarm=error.alarm)
        except Exception as error:  # noqa: BLE001 - the last net: the other projects go on
            maillog.fault("conversation", type(error).__name__)

    async def listen(self, place: Place) -> None:
        """Read what is new in one project and do what is asked there.

        A command that cannot be done or answered now (its issue is locked, say) holds up none that
        came after it.  Raises Deferral then; what has its outcome is not done again, the rest is
        read again.
        """
        tracker, known = self._trackers[place], await self._events.cursor(*place)
        events, cursor = await tracker.events(known)
        failures: list[Deferral] = []
        for event in events:
            try:
                await self._hear(tracker, event)
            except Deferral as error:
                failures.append(error)
        if failures:
            raise failures[0]
        if cursor != known:
            await self._events.move_cursor(*place, cursor)

    async def _hear(self, tracker: Tracker, event: TrackerEvent) -> None:
        match event:
            case CommentWritten():
                await self._comment(tracker, event)
            case IssueChanged():
                return  # the tracker's own business
            case _:
                assert_never(event)

    async def _comment(self, tracker: Tracker, written: CommentWritten) -> None:
        """Do the command of a comment, if it is one and we have not done it before.

        It is known by the place of its case: an issue that was moved to another project of ours is
        listened to from both.
        """
        asked = commands.parse(written.text, mark=self._mark)
        if asked is None or written.author.is_us:
            return
        case = await self._case(written)
        if case is None:
            return
        began, name = perf_counter(), _code(asked)
        before = await self._events.hear(*case.place, written.key, case_id=case.id, command=name)
        if before.done:
            return
        outcome, said = await self._done(tracker, case, written, asked)
        await self._answer(tracker, case, written, before, said)
        await self._events.heard(
            *case.place, written.key, case_id=case.id, by=written.author.name, outcome=outcome
        )
        maillog.commanded(case.id, name, outcome, round((perf_counter() - began) * 1000))

    async def _case(self, written: CommentWritten) -> Case | None:
        """Return the case of an issue, which may have been moved to a project of its own."""
        issue = written.issue
        case_id = await self._events.case_of_issue(issue.tracker, issue.project, issue.id)
        return await self._cases.get_case(case_id) if case_id else None

    async def _done(
        self, tracker: Tracker, case: Case, written: CommentWritten, asked: Command | Mistake
    ) -> Said:
        """Do a command; return its outcome and what to say of it."""
        if not await tracker.may_command(written.author):
            return "not-allowed", [
                Paragraph("Nothing was done: this account has not the role that may command here.")
            ]
        if isinstance(asked, Mistake):
            return asked.kind.value, _explained(asked, self._mark)
        match asked.name:
            case CommandName.KEY_ACCEPT:
                return await self._accept_key(case, written, asked.argument)
            case CommandName.HELP:
                return "helped", _help(self._mark)
            case _:
                assert_never(asked.name)

    async def _accept_key(self, case: Case, written: CommentWritten, argument: str) -> Said:
        match await self._changes.accept(case.id, argument, by=written.author.name):
            case Accepted(binding=binding):
                return "accepted", [
                    Paragraph("From now on the reporter is answered with this key:"),
                    Facts((("Key", binding.fingerprint),)),
                    Paragraph("An answer that was held goes out by itself."),
                ]
            case Refused(code=code):
                return code, [Paragraph(f"Nothing was done: {words.key_refusal(code)}.")]

    async def _answer(
        self,
        tracker: Tracker,
        case: Case,
        written: CommentWritten,
        before: HeardBefore,
        said: Sequence[Paragraph | Facts],
    ) -> None:
        """Tell the issue what became of a command, once."""
        marker = str(uuid.uuid5(uuid.UUID(case.marker), f"answer {written.key}"))
        key = EffectKey(marker, attempted_at=before.attempted_at)
        await tracker.ensure_comment(written.issue, key, CommentDraft(case.id, tuple(said)))


def _explained(mistake: Mistake, mark: str) -> Sequence[Paragraph | Facts]:
    """Say what is wrong with a command, and how it is typed."""
    if mistake.name is None:
        return [Paragraph("Nothing was done: there is no such command."), *_help(mark)]
    form = commands.USAGES[mistake.name].form
    return [
        Paragraph("Nothing was done: something is missing. It is typed like this:"),
        Facts((("Command", f"{mark} {form}"),)),
    ]


def _help(mark: str) -> Sequence[Paragraph | Facts]:
    rows = tuple((f"{mark} {usage.form}", usage.effect) for usage in commands.USAGES.values())
    return [Paragraph("What can be asked in the first line of a comment:"), Facts(rows)]


def _code(asked: Command | Mistake) -> str:
    """Return a command as one word, for the journal and the log."""
    name = asked.name
    return name.value.replace(" ", "-") if name else "unknown"
