"""Does the team's word in its tracker do what it says, once, and is it answered there?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.answering import part_of
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.office import Office, an_office, letter, outer

from secbridge.model.delivery import State
from secbridge.pipeline.conversation import Conversation
from secbridge.ports import HeardBefore
from secbridge.trackers.local import write_comment

PLACE = ("local", "security")


@dataclass
class Talk:
    """An office whose conversation listens when the test says so."""

    office: Office
    conversation: Conversation

    async def write(self, text: str, *, issue: int = 1) -> str:
        """Write a comment as a person of the team, and return the key under which it is heard."""
        house = self.office.house
        comment = await write_comment(
            house.store, self.office.sealer, issue, author="alice", text=text, clock=house.clock
        )
        return f"comment-{comment.id}"

    async def say(self, text: str, *, issue: int = 1) -> None:
        """Write a comment, and let it be heard."""
        await self.write(text, issue=issue)
        await self.listen()

    async def listen(self) -> None:
        """Hear what is new, and let what it brought about be done."""
        await self.conversation.listen(PLACE)
        await self.office.work()


@pytest.fixture
def new_key(keys: Keys) -> Iterator[tuple[Ring, str]]:
    """Return a ring with another key for the reporter's address."""
    with fresh_ring() as ring:
        yield ring, ring.make_key(f"Rita <{REPORTER}>")


@pytest.fixture
async def talk(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Talk]:
    """Return an office that began to listen before anything was said."""
    async with an_office(keys, role_ring, tmp_path) as office:
        conversation = Conversation(
            office.trackers,
            events=office.store,
            cases=office.store,
            changes=office.changes,
        )
        await conversation.listen(PLACE)
        yield Talk(office, conversation)


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
    """The comment is enough: the answer goes out encrypted to the new key and to no other."""
    ring, fingerprint = new_key
    delivery = await a_held_answer(talk, keys, new_key)
    before = len(talk.office.sent())
    await talk.say(f"sb: key accept {fingerprint}", issue=2)
    assert State.DONE is (await talk.office.delivery(delivery)).state
    (answer,) = talk.office.sent()[before:]
    assert b"arrived" in ring.decrypt(part_of(outer(answer.content), 1))
    said = "".join(await talk.office.comments(delivery))
    assert "From now on the reporter is answered with this key" in said
    assert fingerprint in said


async def test_a_command_that_is_read_again_is_not_done_again(
    talk: Talk, keys: Keys, new_key: tuple[Ring, str]
) -> None:
    """A cursor that was lost brings all comments once more, and nothing happens."""
    delivery = await a_held_answer(talk, keys, new_key)
    await talk.say(f"sb: key accept {new_key[1]}", issue=2)
    comments, mails = await talk.office.comments(delivery), len(talk.office.sent())
    await talk.office.store.move_cursor(*PLACE, "0")
    await talk.listen()
    assert comments == await talk.office.comments(delivery)
    assert mails == len(talk.office.sent())


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
    said = [text for text in await talk.office.comments(delivery) if "From now on" in text]
    assert 1 == len(said)
    told = await talk.office.store.hear(*PLACE, key, case_id=case.id, command="key-accept")
    assert told.done


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("sb: key accept 0123456789ABCDEF", "Nothing was done"),
        (f"sb: key accept {'0' * 40}", "Nothing was done"),
        ("sb: key accept", "something is missing"),
        ("sb: acept", "no such command"),
        ("sb: help", "What can be asked"),
    ],
)
async def test_a_command_that_cannot_be_done_says_why(
    talk: Talk, keys: Keys, written: str, answer: str
) -> None:
    """Nobody has to guess what became of what they typed."""
    delivery = await talk.office.receive(letter(keys, "first", attach=[keys.reporter_cert]))
    await talk.say(written)
    assert answer in (await talk.office.comments(delivery))[-1]


@pytest.mark.parametrize(
    "written", ["Looks real to me.", "> sb: help", "Try this:\nsb: help", "sb is our robot"]
)
async def test_what_is_no_command_is_left_alone(talk: Talk, keys: Keys, written: str) -> None:
    """The team's own conversation gets no answer, and nothing of it leaves."""
    delivery = await talk.office.receive(letter(keys, "first", attach=[keys.reporter_cert]))
    mails = len(talk.office.relay.taken)
    await talk.say(written)
    assert written in (await talk.office.comments(delivery))[-1]
    assert mails == len(talk.office.relay.taken)
