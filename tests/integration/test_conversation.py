"""Is the team's word heard once, from whom it counts, and answered in the issue?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.answering import part_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.office import letter, outer
from tests.support.talking import PLACE, Talk, a_talk, an_issue_of_people
from tests.support.trackers import log_lines

from secbridge.errors import PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.delivery import State
from secbridge.model.issue import Actor, CommentDraft, CommentWritten, TrackerEvent
from secbridge.pipeline.conversation import TRIES, Habits
from secbridge.ports import EffectKey, HeardBefore
from secbridge.trackers.local import LocalTracker


@pytest.fixture
def new_key(keys: Keys) -> Iterator[tuple[Ring, str]]:
    """Return a ring with another key for the reporter's address."""
    with fresh_ring() as ring:
        yield ring, ring.make_key(f"Rita <{REPORTER}>")


@pytest.fixture
async def talk(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Talk]:
    """Return an office that began to listen before anything was said."""
    async with a_talk(keys, role_ring, tmp_path) as talk:
        yield talk


async def a_held_answer(talk: Talk, keys: Keys, new_key: tuple[Ring, str]) -> str:
    """Return the delivery of a mail whose answer waits for the team's word on a new key."""
    await talk.office.receive(letter(keys, "first", attach=[keys.reporter_cert]))
    ring, fingerprint = new_key
    second = letter(keys, "second", name="two", attach=[ring.export(fingerprint)])
    delivery = await talk.office.receive(second)
    assert State.HELD is (await talk.office.delivery(delivery)).state
    return delivery


async def test_a_key_that_the_team_accepts_gets_the_answer_that_was_held(
    talk: Talk, keys: Keys, new_key: tuple[Ring, str]
) -> None:
    """The comment is enough, and read again it does nothing: a cursor that was lost is no harm."""
    ring, fingerprint = new_key
    delivery = await a_held_answer(talk, keys, new_key)
    before = len(talk.office.sent())
    await talk.say(f"sb: key accept {fingerprint}", issue=2)
    assert State.DONE is (await talk.office.delivery(delivery)).state
    (answer,) = talk.office.sent()[before:]
    assert b"arrived" in ring.decrypt(part_of(outer(answer.content), 1))
    comments = await talk.comments(2)
    assert "From now on the reporter is answered with this key" in comments[-2]
    assert fingerprint in comments[-2]
    await talk.office.store.move_cursor(*PLACE, "0")
    await talk.listen()
    assert comments == await talk.comments(2)
    assert before + 1 == len(talk.office.sent())


async def test_a_command_in_the_middle_of_which_we_died_is_done_after_the_start(
    talk: Talk, keys: Keys, new_key: tuple[Ring, str]
) -> None:
    """It was begun and has no outcome: it is done, and answered once."""
    delivery = await a_held_answer(talk, keys, new_key)
    case = await talk.office.case(delivery)
    key = await talk.write(f"sb: key accept {new_key[1]}", issue=2)
    begun = await talk.office.store.hear(*PLACE, key, case_id=case.id, command="key-accept")
    assert HeardBefore(None, done=False) == begun
    await talk.listen()
    assert State.DONE is (await talk.office.delivery(delivery)).state
    said = [text for text in await talk.comments(2) if "From now on" in text]
    assert 1 == len(said)
    told = await talk.office.store.hear(*PLACE, key, case_id=case.id, command="key-accept")
    assert told.done


async def test_every_comment_is_a_command_with_an_answer_or_the_teams_own(talk: Talk) -> None:
    """Nobody has to guess what became of a command; what is none is left alone, and stays here."""
    await talk.report()
    mails = len(talk.office.relay.taken)
    answered = {
        "sb: key accept 0123456789ABCDEF": "Nothing was done",
        f"sb: key accept {'0' * 40}": "Nothing was done",
        "sb: key accept": "something is missing",
        "sb: acept": "no such command",
        "sb: reject because": "no such class",
        "sb: preview take": "only a command that writes",
        "sb: help": "What can be asked",
        "/help": "What can be asked",
        "/reject out-of-scope": "something is missing, the text",
    }
    for written, answer in answered.items():
        assert answer in await talk.say(written), written
    for written in ("Looks real to me.", "> sb: help", "Try this:\nsb: help", "/close"):
        assert (await talk.say(written)).strip() == written
    assert mails == len(talk.office.relay.taken)


# ── Edited, hidden, refused ──────────────────────────────────────────────────────────────────────


class Retold(LocalTracker):
    """The embedded tracker, with comments as another one would tell them."""

    def __init__(self, tracker: LocalTracker) -> None:
        super().__init__(tracker.desk)
        self.edited: str | None = None
        self.public = False
        self.slashes = True
        self.members = True

    @property
    def leaves_slashes(self) -> bool:
        """Return what the test says."""
        return self.slashes

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return the comments, edited and shown to outsiders as the test says."""
        events, cursor = await super().events(cursor)
        return [self._retold(event) for event in events], cursor

    def _retold(self, event: TrackerEvent) -> TrackerEvent:
        if not isinstance(event, CommentWritten):
            return event
        return replace(event, text=self.edited or event.text, public=self.public)

    async def may_command(self, actor: Actor) -> bool:
        """Return whether somebody is a member."""
        return self.members and await super().may_command(actor)


def retold(talk: Talk, **habits: Any) -> Retold:
    """Let the team's tracker be one that tells its comments otherwise."""
    tracker = talk.office.trackers[PLACE]
    assert isinstance(tracker, LocalTracker)
    told = Retold(tracker)
    talk.conversation = talk.office.conversation(trackers={PLACE: told}, habits=Habits(**habits))
    return told


async def test_a_comment_that_is_edited_later_does_nothing(talk: Talk) -> None:
    """What went is gone: an edit of a done command is not even answered, whatever it says now."""
    await talk.report()
    tracker = retold(talk)
    await talk.say("sb: reply The first text.")
    comments, mails = await talk.comments(), talk.letters()
    await talk.office.store.move_cursor(*PLACE, "0")
    tracker.edited = "sb: reject out-of-scope Another text."
    await talk.listen()
    assert (comments, mails) == (await talk.comments(), talk.letters())
    assert (await talk.issue()).open


async def test_a_comment_that_is_edited_while_it_is_done_does_not_send_twice(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We died behind the letter: the new text is not sent, and its author is told so."""
    await talk.report()
    tracker = retold(talk)

    class Death(BaseException):
        pass

    async def die(*_: Any, **__: Any) -> None:
        raise Death

    await talk.write("sb: reply The first text.")
    with monkeypatch.context() as patch:
        patch.setattr(type(talk.office.store), "record_contact", die)
        with pytest.raises(Death):
            await talk.listen()
    tracker.edited = "sb: reject out-of-scope Another text."
    await talk.listen()
    assert "This comment was edited" in (await talk.comments())[-1]
    assert ["The first text." in text for text in talk.letters()[1:]] == [True]
    assert (await talk.issue()).open


async def test_a_public_comment_of_a_member_is_a_reply_where_the_operator_says_so(
    talk: Talk,
) -> None:
    """A service desk shows it to its customer, and so it is mailed; a customer's own is not."""
    await talk.report()
    tracker = retold(talk)
    tracker.public, tracker.slashes = True, False
    await talk.say("We are on it.")
    await talk.say("/reply We are on it.")
    assert talk.letters()[1:] == []
    tracker = retold(talk, public_replies=True)
    tracker.public, tracker.members = True, False
    await talk.say("Are you on it?")
    assert talk.letters()[1:] == []
    tracker.members = True
    said = await talk.say("We are on it.\n\nSince today.")
    assert "This goes to the reporter now" in said
    (text,) = talk.letters()[1:]
    assert "We are on it.\n\nSince today." in text


async def test_who_is_no_member_is_told_so_and_nothing_is_done(talk: Talk) -> None:
    """A command of somebody without the role has an answer, so that it does not look done."""
    await talk.report()
    retold(talk).members = False
    assert "has not the role" in await talk.say("sb: spam")
    assert (await talk.issue()).open


async def test_an_issue_that_takes_no_comment_holds_up_its_project_only_for_a_while(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is locked: the command is done at once, and after some tries we go on without answer."""
    await talk.report()

    async def locked(
        self: LocalTracker, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        raise PermanentFault("issue-locked", "The issue takes no comment.")

    monkeypatch.setattr(LocalTracker, "ensure_comment", locked)
    await talk.write("sb: reply Thank you.")
    before = await talk.office.store.cursor(*PLACE)
    for _ in range(TRIES - 1):
        with pytest.raises(PermanentFault):
            await talk.listen()
    assert before == await talk.office.store.cursor(*PLACE)
    await talk.listen()
    assert before != await talk.office.store.cursor(*PLACE)
    assert 1 == len(talk.letters()[1:])


async def test_what_breaks_in_us_is_given_up_and_said(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours in one command stops neither the others nor the project for ever."""
    await talk.report()

    async def broken(*_: Any, **__: Any) -> None:
        raise LookupError("nobody expected this")

    monkeypatch.setattr(type(talk.office.store), "mails_of_case", broken)
    await talk.write("sb: status")
    for _ in range(TRIES - 1):
        with pytest.raises(LookupError):
            await talk.listen()
    await talk.listen()
    assert "broke off because of an error" in (await talk.comments())[-1]
    assert "What can be asked" in await talk.say("sb: help")


# ── When ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hint_makes_us_look_at_once_and_many_hints_are_one_look(talk: Talk) -> None:
    """A webhook wakes the project that it is of; between hints nothing is asked before its time."""
    looks: list[str | None] = []
    seen = asyncio.Semaphore(0)

    class Watched(LocalTracker):
        async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
            looks.append(cursor)
            seen.release()
            return await super().events(cursor)

    tracker = talk.office.trackers[PLACE]
    assert isinstance(tracker, LocalTracker)
    conversation = talk.office.conversation(trackers={PLACE: Watched(tracker.desk)})
    stopping = asyncio.Event()
    running = asyncio.create_task(conversation.run(stopping, every=timedelta(hours=1)))
    await seen.acquire()
    conversation.nudge("elsewhere")
    for _ in range(100):
        conversation.nudge("local")
    await seen.acquire()
    stopping.set()
    await running
    assert 2 == len(looks)


async def test_a_command_that_two_projects_hear_at_once_is_done_once(talk: Talk) -> None:
    """An issue that was moved between projects of ours is listened to from both, side by side."""
    await talk.report()
    places = (PLACE, ("local", "elsewhere"))
    tracker = talk.office.trackers[PLACE]
    talk.conversation = talk.office.conversation(trackers=dict.fromkeys(places, tracker))
    await talk.conversation.listen(places[1])
    await talk.write("sb: reply Thank you.")
    with log_lines() as lines:
        await asyncio.gather(*(talk.conversation.listen(place) for place in places))
    assert ["case.commanded"] == [one["event"] for one in lines if "command" in one]
    await talk.office.work()
    assert 1 == len(talk.letters()[1:])


# ── Issues that people opened ────────────────────────────────────────────────────────────────────


async def test_a_command_makes_a_case_of_an_issue_that_people_opened(
    talk: Talk, keys: Keys
) -> None:
    """It is adopted once, asks who the reporter is, and then is a case like any other."""
    number = await an_issue_of_people(talk, "Security", "urgent")
    assert "What can be asked" not in await talk.say("/help", issue=number)
    said = await talk.say("sb: reply Thank you.", issue=number)
    assert "This issue is case SB-2026-0001 of secbridge now." in said
    assert "Nothing was sent, and nothing else was done" in said
    assert "sb: reporter ADDRESS" in said
    said = await talk.say(f"sb: reporter {REPORTER}", issue=number)
    assert "Mail of this case goes to this address" in said
    said = await talk.say("sb: reply Thank you.", issue=number)
    assert "in clear, signed" in said
    assert "is case" not in said
    assert [b"Thank you." in taken.content for taken in talk.office.sent()] == [True]
    case = await talk.office.store.get_case("SB-2026-0001")
    assert case is not None
    assert (True, REPORTER, "Alice Example") == (case.adopted, case.reporter, case.contacted_by)


async def test_an_issue_that_cannot_be_a_case_is_left_alone(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """Without the alias's label, or where the operator does not want it, not a word is written."""
    async with a_talk(keys, role_ring, tmp_path) as talk:
        number = await an_issue_of_people(talk, "bug")
        assert "sb: status" == (await talk.say("sb: status", issue=number)).strip()
        number = await an_issue_of_people(talk, "bug", "security")
        assert "sb: acept" == (await talk.say("sb: acept", issue=number)).strip()
        talk.conversation = talk.office.conversation(adopt=False)
        assert "sb: status" == (await talk.say("sb: status", issue=number)).strip()
        assert await talk.office.store.get_case("SB-2026-0001") is None
