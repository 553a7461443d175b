"""Can a comment, a colleague or a broken issue make us do something twice, never, or wrongly?

Each test was a hole once.  The people here may write on issues; some of them mean no good, and some
only have bad luck with their tracker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.fake_gitlab import BOT, PRODUCT, FakeGitLab
from tests.support.guarded import gitlab_config, installation
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.messages import an_alias
from tests.support.reports import plain_report
from tests.support.stores import LEASE, an_answer
from tests.support.talking import PLACE, TEAM, Talk, a_talk, an_issue_of_people

from secbridge.errors import (
    Deferral,
    NotConfidential,
    OutcomeUnknown,
    PermanentFault,
    TransientFault,
)
from secbridge.model.alias import Member
from secbridge.model.case import CaseStatus, CommentRef, IssueRef
from secbridge.model.issue import Actor, CommentDraft, CommentWritten, IssueChange, TrackerEvent
from secbridge.model.reply import ReplyKind
from secbridge.pipeline.conversation import PATIENCE, TRIES, Habits
from secbridge.pipeline.following import Signs
from secbridge.pipeline.guarding import Guarding
from secbridge.pipeline.speaking import MEMBER
from secbridge.pipeline.troubles import Troubles
from secbridge.ports import EffectKey, HeardState
from secbridge.rules.commands import Command, CommandName, Mistake, MistakeKind, parse, sign
from secbridge.trackers.local import UNREADABLE, LocalTracker


class Bent(LocalTracker):
    """The embedded tracker, with whatever a test has go wrong: a fault for each issue."""

    def __init__(self, tracker: LocalTracker) -> None:
        super().__init__(tracker.desk)
        self.answers: dict[str, Exception] = {}
        self.roles: dict[str, Exception] = {}
        self.strangers: set[str] = set()
        self.names: dict[str, Actor] = {}
        self.moved_to = ""
        self.hidden = False

    async def events(self, cursor: str | None) -> tuple[Sequence[TrackerEvent], str]:
        """Return the comments, from whom and from where the test says."""
        events, cursor = await super().events(cursor)
        return [self._retold(event) for event in events], cursor

    def _retold(self, event: TrackerEvent) -> TrackerEvent:
        issue = replace(event.issue, project=self.moved_to or event.issue.project)
        if isinstance(event, CommentWritten):
            author = self.names.get(event.author.name, event.author)
            text = "sb as a word" if self.hidden else event.text
            return replace(event, issue=issue, author=author, text=text)
        return replace(event, issue=issue, state=replace(event.state, ref=issue))

    async def may_command(self, actor: Actor) -> bool:
        """Return whether somebody is a member, where that can be asked."""
        if actor.name in self.roles:
            raise self.roles[actor.name]
        return actor.name not in self.strangers and await super().may_command(actor)

    async def ensure_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft
    ) -> CommentRef:
        """Write a comment, unless the issue takes none."""
        if ref.number in self.answers:
            raise self.answers[ref.number]
        return await super().ensure_comment(ref, key, draft)


def bent(talk: Talk, habits: Habits | None = None, **given: Any) -> Bent:
    """Let the team's tracker be one in which things go wrong."""
    tracker = talk.office.trackers[PLACE]
    assert isinstance(tracker, LocalTracker)
    told = Bent(tracker)
    talk.conversation = talk.office.conversation(trackers={PLACE: told}, habits=habits, **given)
    return told


async def listen_in_vain(talk: Talk, times: int = 1) -> None:
    """Listen while something holds the project up."""
    for _ in range(times):
        with pytest.raises((TransientFault, OutcomeUnknown, PermanentFault, LookupError)):
            await talk.listen()


@pytest.fixture
async def talk(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Talk]:
    """Return an office that began to listen before anything was said."""
    async with a_talk(keys, role_ring, tmp_path) as talk:
        yield talk


# ── What anybody may write ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("sb: " + "preview " * 5000, MistakeKind.NO_LETTER, CommandName.PREVIEW),
        ("sb: reporter " + "a" * 1_000_000, MistakeKind.NO_ADDRESS, CommandName.REPORTER),
        ("sb: reporter " + "a@" * 500_000, MistakeKind.NO_ADDRESS, CommandName.REPORTER),
        ("sb: " + "`" * 1_000_000, MistakeKind.UNKNOWN, None),
        ("sb: duplicate-of " + "[" * 1_000_000, MistakeKind.NO_ARGUMENT, CommandName.DUPLICATE_OF),
        ("sb: disclosed " + "http" * 250_000, MistakeKind.NO_URL, CommandName.DISCLOSED),
    ],
    ids=["preview", "address", "addresses", "ticks", "brackets", "schemes"],
)
def test_no_comment_costs_more_than_its_length(
    text: str, kind: MistakeKind, name: CommandName | None
) -> None:
    """It is parsed before anybody asks who wrote it: without an end, or for hours, hears nobody."""
    assert Mistake(kind, name) == parse(text)


# ── Issues that hold up others ───────────────────────────────────────────────────────────────────


async def test_an_issue_that_was_made_public_holds_up_its_project_only_for_a_while(
    talk: Talk,
) -> None:
    """Teams publish what is fixed; then anybody may write there, and what we say has no place."""
    await talk.report()
    await talk.report("two")
    tracker = bent(talk)
    tracker.answers["1"] = NotConfidential("comment-not-confidential", "Others read it.")
    before = await talk.office.store.cursor(*PLACE)
    await talk.write("sb: reply Thank you.")
    await talk.write("sb: help", issue=2)
    await listen_in_vain(talk, TRIES - 1)
    assert "What can be asked" in (await talk.comments(2))[-1]
    await talk.listen()
    assert before != await talk.office.store.cursor(*PLACE)
    assert ["Thank you." in text for text in talk.letters()[2:]] == [True]
    tracker.strangers.add("mallory")
    for _ in range(3):
        await talk.write("sb: help", by="mallory")
    await talk.listen()
    assert [] == [text for text in await talk.comments() if "has not the role" in text]


async def test_what_cannot_be_done_for_a_day_is_given_up(talk: Talk) -> None:
    """The role is gone that says who commands; the cursor of the project does not wait for ever."""
    await talk.report()
    tracker, clock = bent(talk), talk.office.house.clock
    tracker.roles["alice"] = PermanentFault("tracker-forbidden", "Nobody may ask that.")
    tracker.answers["1"] = TransientFault("tracker-away", "It does not answer.")
    before = await talk.office.store.cursor(*PLACE)
    await talk.write("sb: help")
    await listen_in_vain(talk, 2 * TRIES)
    clock.time += PATIENCE - timedelta(seconds=1)
    await listen_in_vain(talk)
    clock.time += timedelta(seconds=1)
    await talk.listen()
    assert before != await talk.office.store.cursor(*PLACE)
    tracker.answers.clear()
    tracker.roles.clear()
    await talk.office.store.move_cursor(*PLACE, "0")
    await talk.listen()
    assert "sb: help" == (await talk.comments())[-1].strip()


async def test_what_was_waited_for_once_is_waited_for_again(talk: Talk) -> None:
    """A comment was late once and is edited a month later: it is not given up at the first try."""
    await talk.report()
    tracker, clock = bent(talk), talk.office.house.clock
    tracker.roles["alice"] = TransientFault("tracker-away", "It does not answer.")
    await talk.write("sb: help")
    await listen_in_vain(talk)
    fault = tracker.roles.pop("alice")
    tracker.hidden = True
    await talk.listen()
    clock.time += 2 * PATIENCE
    tracker.hidden, tracker.roles["alice"] = False, fault
    await talk.office.store.move_cursor(*PLACE, "0")
    await listen_in_vain(talk)


async def test_what_breaks_before_a_command_is_begun_is_passed_over(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours in adopting an issue is no reason never to hear of the others again."""
    await talk.report()
    number = await an_issue_of_people(talk, "Security")

    async def broken(*_: Any, **__: Any) -> None:
        raise LookupError("nobody expected this")

    monkeypatch.setattr(type(talk.office.store), "adopt_case", broken)
    before = await talk.office.store.cursor(*PLACE)
    await talk.write("sb: status", issue=number)
    await listen_in_vain(talk, TRIES - 1)
    await talk.listen()
    assert before != await talk.office.store.cursor(*PLACE)


# ── Who says it ──────────────────────────────────────────────────────────────────────────────────


class Death(BaseException):
    """The power goes; nothing of ours catches it."""


async def die(*_: Any, **__: Any) -> None:
    """Stand for what we did not come to."""
    raise Death


async def test_who_loses_the_role_behind_the_letter_is_not_told_that_nothing_was_done(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """We died when it was on its way: the answer says what the reporter gets."""
    await talk.report()
    tracker = bent(talk)
    await talk.write("sb: reply Thank you.")
    with monkeypatch.context() as patch:
        patch.setattr(type(talk.office.store), "record_contact", die)
        with pytest.raises(Death):
            await talk.listen()
    tracker.strangers.add("alice")
    await talk.listen()
    assert "This goes to the reporter now." in (await talk.comments())[-1]
    assert "has not the role" in await talk.say("sb: reply And this?")
    assert ["Thank you." in text for text in talk.letters()[1:]] == [True]


async def test_nobody_speaks_with_the_name_of_another_member(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """Names in trackers are what people call themselves; whose account it is tells who they are."""
    team = (*TEAM, Member("carol@example.org", name="Carol"))
    alias = an_alias(members=team, assignees=())
    async with a_talk(keys, role_ring, tmp_path, alias=alias, sign_as=MEMBER) as talk:
        case = await talk.report()
        tracker = bent(talk, sign_as=MEMBER)
        for name in ("Alice Example", "alice@example.org", "alice"):
            tracker.names["mallory"] = Actor("7:f", name, account="7:f")
            await talk.say("sb: reply Please trust me.", by="mallory")
            assert "Alice" not in talk.letters()[-1], name
        assert "7:f" == (await talk.case(case)).contacted_by
        await talk.say("sb: take", by="mallory")
        assert "7:f" == (await talk.case(case)).handler
        assert [1, 1, 1] == [len(talk.office.sent(member.address)) for member in team]
        tracker.names["alice"] = Actor("7:a", "Al", account="alice")
        await talk.say("sb: reply It is me.", by="alice")
        assert "Alice Example" in talk.letters()[-1]
        tracker.names["carol"] = Actor("7:c", "Carol", account="7:c")
        await talk.say("sb: reply It is me, too.", by="carol")
        assert "Carol" in talk.letters()[-1]


# ── What changes by our own hand ─────────────────────────────────────────────────────────────────


def command(line: str) -> Command:
    """Return what a label stands for."""
    found = sign(line)
    assert isinstance(found, Command)
    return found


SIGNS = Signs(
    labels={"wontfix": command("reject out-of-scope We do not maintain this.")},
    states={"closed": command("reply We have closed it."), "open": command("reply It is open.")},
)


UNHEARD = HeardState(open=True, labels=(), assignees=(), turn=-1)
"""What the migration keeps of an issue that was there before anybody listened."""


async def test_what_a_label_closes_is_not_closed_by_the_team_though_it_was_opened_just_now(
    talk: Talk,
) -> None:
    """Opened and labelled between two looks: we close it again, and that stands for no command."""
    await talk.report()
    talk.conversation = talk.office.conversation(habits=Habits(signs=SIGNS))
    await talk.change(IssueChange(open=False))
    await talk.change(IssueChange(open=True, add_labels=("wontfix",)))
    assert not (await talk.issue()).open
    before = len(talk.letters())
    await talk.change(IssueChange(add_labels=("urgent",)))
    assert before == len(talk.letters())
    await talk.change(IssueChange(open=True, remove_labels=("wontfix",)))
    assert ["It is open." in text for text in talk.letters()[before:]] == [True]


async def test_a_duplicate_of_something_public_is_a_duplicate(talk: Talk) -> None:
    """What was there first may be published by now: then it takes no comment of ours."""
    await talk.report()
    case = await talk.report("two")
    bent(talk).answers["1"] = NotConfidential("comment-not-confidential", "Others read it.")
    said = await talk.say("sb: duplicate-of #1", issue=2)
    assert "the issues could not be linked" in said
    assert CaseStatus.DUPLICATE is (await talk.case(case)).status


async def test_what_people_did_before_we_listened_stands_for_nothing(talk: Talk) -> None:
    """A case of an older version was closed long ago; the next word there tells no reporter so."""
    case = await talk.report()
    talk.conversation = talk.office.conversation(habits=Habits(signs=SIGNS))
    await talk.office.store.keep_state(case.id, UNHEARD)
    await talk.change(IssueChange(open=False, assignees=("bob",)))
    assert [] == talk.letters()[1:]
    assert "" == (await talk.case(case)).handler
    await talk.change(IssueChange(open=True))
    assert ["It is open." in text for text in talk.letters()[1:]] == [True]


async def test_a_comment_that_no_key_opens_is_passed_over_after_a_day(talk: Talk) -> None:
    """It was sealed to a key that is gone; those who write after it are heard again."""
    await talk.report()
    store, clock = talk.office.store, talk.office.house.clock
    await store.add_comment(
        1, marker=str(uuid4()), author="alice", sealed_body=b"nothing", now=clock.now()
    )
    await talk.write("sb: help")
    with pytest.raises(Deferral):
        await talk.listen()
    clock.time += UNREADABLE
    await talk.listen()
    answer = (await store.comments(1))[-1]
    assert b"What can be asked" in (await talk.office.sealer.unseal(answer.sealed_body)).content


async def test_an_issue_that_was_made_public_keeps_no_trouble_of_others_from_being_told(
    talk: Talk,
) -> None:
    """What did not leave is told in its own issue, whatever became of the one that comes first."""
    office, cases = talk.office, [await talk.report(), await talk.report("two")]
    store, tracker = office.store, bent(talk)
    for case in cases:
        lost = an_answer(case.id, REPORTER, step="letter-1001")
        await store.post([replace(lost, kind=ReplyKind.REPLY, automatic=False)])
    for row in await store.claim_outgoing(office.house.clock.now(), limit=9, lease=LEASE):
        await store.outgoing_refused(row.id, "5.1.1", quarantine=False)
    tracker.answers["1"] = NotConfidential("comment-not-confidential", "Others read it.")
    guarding = Guarding({PLACE: tracker}, store, clock=office.house.clock)
    await Troubles(store, store, guarding, clock=office.house.clock).tell()
    assert "did not get this mail" in (await talk.comments(2))[-1]


async def test_nobody_handles_a_case_that_went_to_whom_such_issues_go(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The alias's own people are written with an @, or unknown there: no person did anything."""
    alias = an_alias(members=TEAM, assignees=("@alice",))
    async with a_talk(keys, role_ring, tmp_path, alias=alias) as talk:
        case = await talk.report()
        signs = Signs(nobody=("@Dispatcher",))
        talk.conversation = talk.office.conversation(habits=Habits(signs=signs))
        for account in ("alice", "dispatcher"):
            await talk.change(IssueChange(assignees=(account,)))
            assert "" == (await talk.case(case)).handler, account
        await talk.change(IssueChange(assignees=("dispatcher", "bob")))
        assert "Bob Example" == (await talk.case(case)).handler


# ── Issues that move ─────────────────────────────────────────────────────────────────────────────


async def test_an_issue_whose_id_stays_is_known_wherever_it_is(talk: Talk) -> None:
    """Jira's keep theirs: a command that comes before anybody looked there is the old case's."""
    case = await talk.report()
    tracker = bent(talk)
    for project in ("elsewhere", "somewhere"):
        tracker.moved_to = project
        assert case.id in await talk.say("sb: status")
        await talk.change(IssueChange(add_labels=(project,)))
        issue = (await talk.case(case)).issue
        assert issue is not None
        assert project == issue.project
    assert await talk.office.store.get_case("SB-2026-0002") is None


async def test_an_issue_that_was_moved_is_no_new_case(
    tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """GitLab gives it another id: what is said there at once is said in the case that it is."""
    with FakeGitLab.start() as gitlab:
        config = gitlab_config(tmp_path / "home", gitlab, role_ring, keys.role_fpr)
        async with installation(config, keys) as here:
            listen, place = here.house.conversation.listen, ("main", gitlab.project)
            await listen(place)
            delivery = await here.receive(plain_report().as_bytes())
            await here.work()
            gitlab.move(1, PRODUCT)
            gitlab.write("9/1", "sb: accept")
            await listen(place)
            (answer,) = [note["body"] for note in gitlab.notes("9/1") if note["author_id"] == BOT]
            assert "This goes to the reporter now." in answer
            case = await here.case(delivery)
            assert CaseStatus.ACCEPTED is case.status
            assert case.issue is not None
            assert "group/product" == case.issue.project
            assert await here.house.store.get_case(f"{case.id[:-1]}2") is None
