"""delivery: was anything lost?  Every accepted mail is listed, shown, had raw, and moved on."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import Done, secbridge
from tests.support.running import write_config
from tests.support.stores import (
    ALIAS,
    NOON,
    SPAM,
    StillClock,
    a_mail,
    a_route,
    accepted,
    an_answer,
    opened_case,
    routed,
)

from secbridge.model.case import IssueRef
from secbridge.model.delivery import Answered, Deferred, Filed, Held, Quarantined, SetAside
from secbridge.store import Store

FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


class Installation:
    """A configuration and its store, without a daemon."""

    def __init__(self, folder: Path) -> None:
        self.config = write_config(folder, role_home=folder, role_key=FINGERPRINT, relay_port=1)
        self.state = folder / "state"

    def fill(self, work: Callable[[Store], Awaitable[Any]]) -> Any:
        """Do something with the store, as the daemon would, and close it."""

        async def filled() -> Any:
            store = await Store.open(self.state / "secbridge.sqlite", clock=StillClock())
            try:
                return await work(store)
            finally:
                await store.aclose()

        return asyncio.run(filled())

    def delivery(self, *arguments: str, status: int = 0) -> Done:
        """Run ``secbridge delivery …``."""
        done = secbridge("delivery", *arguments, config=self.config)
        assert done.status == status, done.err
        assert "Traceback" not in done.err
        return done


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Return an installation."""
    return Installation(tmp_path)


async def set_aside(store: Store) -> str:
    """Accept a mail that the relay marked as spam, and set it aside."""
    delivery = await routed(store, "spam", SPAM)
    await store.record(delivery.id, SetAside("spam.mark"))
    return delivery.id


async def quarantined(store: Store) -> str:
    """Accept a mail over which a worker died three times."""
    delivery_id = await accepted(store, "poison")
    await store.record(delivery_id, Quarantined("died-three-times"))
    return delivery_id


async def answered(store: Store) -> str:
    """Accept a mail that became an issue with an answer on its way."""
    delivery = await routed(store, "report")
    case = await opened_case(
        store, delivery.id, a_route(), reporter="reporter@example.net", must_encrypt=True
    )
    await store.record(delivery.id, Filed(case.id, IssueRef("local", "security", "1", "1")))
    await store.record(delivery.id, Answered((an_answer(case.id),)))
    return delivery.id


def test_the_list_shows_every_accepted_mail_newest_first(installation: Installation) -> None:
    """One JSON object a line, every key always there."""

    async def three(store: Store) -> list[str]:
        return [await accepted(store, "1"), await set_aside(store), await quarantined(store)]

    ids = installation.fill(three)
    rows = installation.delivery("list", "--json").rows
    assert [row["id"] for row in rows] == ids[::-1]
    assert [row["state"] for row in rows] == ["quarantined", "set-aside", "received"]
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
    assert rows[1]["class"] == "spam"
    assert rows[1]["reply_refused_because"] == "spam"
    assert rows[0]["why"] == "died-three-times"
    assert rows[2]["received_at"] == NOON.isoformat()


def test_the_list_can_be_of_one_state(installation: Installation) -> None:
    """What was set aside is listed, until somebody releases it."""

    async def two(store: Store) -> str:
        await accepted(store, "1")
        return await set_aside(store)

    delivery_id = installation.fill(two)
    rows = installation.delivery("list", "--state", "set-aside", "--json").rows
    assert [row["id"] for row in rows] == [delivery_id]


def test_a_person_gets_a_table_and_the_number_in_each_state(installation: Installation) -> None:
    """The last line counts, so that nothing has to be counted by hand."""

    async def two(store: Store) -> str:
        await accepted(store, "1")
        return await set_aside(store)

    delivery_id = installation.fill(two)
    text = installation.delivery("list").text
    assert delivery_id in text
    assert text.splitlines()[-1] == "1 received, 1 set-aside"


def test_an_installation_without_mail_says_so(installation: Installation) -> None:
    """An empty store is an answer; no store at all is a question back."""
    done = installation.delivery("list", status=2)
    assert "There is no store" in done.err

    async def nothing(store: Store) -> None:
        del store

    installation.fill(nothing)
    assert installation.delivery("list").text == "No mail was accepted yet.\n"
    assert installation.delivery("list", "--json").out == b""


def test_one_delivery_is_shown_with_its_answers_and_its_journal(
    installation: Installation,
) -> None:
    """What happened to the mail, step by step, and what became of our mails for it."""
    delivery_id = installation.fill(answered)
    row = installation.delivery("show", delivery_id, "--json").row
    assert (row["state"], row["class"]) == ("answered", "report")
    assert row["route"] == {"alias": ALIAS, "tracker": "local", "project": "security"}
    (mail,) = row["outgoing"]
    assert (mail["kind"], mail["state"]) == ("acknowledgement", "queued")
    assert "reporter@example.net" not in str(row["journal"])
    assert row["journal"][0]["event"] == "delivery.accepted"
    text = installation.delivery("show", delivery_id).text
    assert delivery_id in text
    assert "acknowledgement" in text


def test_a_held_answer_is_listed_and_says_what_unblocks_it(installation: Installation) -> None:
    """In words: why it waits, until when, and the command that does not wait."""

    async def held(store: Store) -> str:
        delivery = await routed(store, "report")
        case = await opened_case(
            store, delivery.id, a_route(), reporter="reporter@example.net", must_encrypt=True
        )
        filed = Filed(case.id, IssueRef("local", "security", "1", "1"))
        until = NOON + timedelta(hours=6)
        await store.record(delivery.id, filed, Held("key-unusable-expired", until))
        return delivery.id

    delivery_id = installation.fill(held)
    (row,) = installation.delivery("list", "--state", "answer-held", "--json").rows
    assert (row["id"], row["why"]) == (delivery_id, "key-unusable-expired")
    assert row["resume"] == "filed"
    text = " ".join(installation.delivery("show", delivery_id).text.split())
    assert "the reporter's key cannot be used: it has expired" in text
    assert f"secbridge key import FILE --case {row['case']}" in text
    installation.delivery("retry", delivery_id)
    assert installation.delivery("show", delivery_id, "--json").row["state"] == "filed"


def test_the_raw_mail_comes_byte_for_byte(installation: Installation) -> None:
    """Also what is no text: it is what was accepted, nothing else."""
    delivery_id = installation.fill(lambda store: accepted(store, "1"))
    assert installation.delivery("raw", delivery_id).out == a_mail("1")
    row = installation.delivery("raw", delivery_id, "--json").row
    assert base64.b64decode(row["content_base64"]) == a_mail("1")


def test_what_was_set_aside_is_released(installation: Installation) -> None:
    """Then it is filed like any other mail; who released it stands in the journal."""
    delivery_id = installation.fill(set_aside)
    row = installation.delivery("release", delivery_id, "--json").row
    assert (row["state"], row["class"]) == ("routed", "other")
    assert "released-by-operator" in row["reasons"]
    again = installation.delivery("release", delivery_id, status=2)
    assert again.err == (
        "secbridge: a delivery that is routed cannot be released; "
        f"`secbridge delivery show {delivery_id}` says what became of it.\n"
    )


@pytest.mark.parametrize("state", ["quarantined", "deferred"])
def test_what_waits_is_tried_again(installation: Installation, state: str) -> None:
    """A quarantined mail after somebody looked, a deferred one before its time."""

    async def waiting(store: Store) -> str:
        if state == "quarantined":
            return await quarantined(store)
        delivery_id = await accepted(store)
        await store.record(delivery_id, Deferred(NOON, "gpg-timeout"))
        return delivery_id

    delivery_id = installation.fill(waiting)
    assert installation.delivery("show", delivery_id, "--json").row["state"] == state
    assert "will be worked on again" in installation.delivery("retry", delivery_id).text
    assert installation.delivery("show", delivery_id, "--json").row["state"] == "received"


@pytest.mark.parametrize("verb", ["show", "raw", "retry", "release"])
def test_an_unknown_id_is_told_with_the_way_to_find_the_right_one(
    installation: Installation, verb: str
) -> None:
    """Nothing but a sentence; what was typed cannot steer the terminal."""
    installation.fill(accepted)
    done = installation.delivery(verb, "\x1b[2Jnope", status=2)
    assert "`secbridge delivery list` shows all ids" in done.err
    assert "\x1b" not in done.err


def test_looking_leaves_no_trace(installation: Installation) -> None:
    """Not even the files that SQLite puts beside a store that somebody has open."""
    delivery_id = installation.fill(set_aside)
    before = sorted(installation.state.iterdir())
    content = (installation.state / "secbridge.sqlite").read_bytes()
    installation.delivery("list")
    installation.delivery("show", delivery_id)
    installation.delivery("raw", delivery_id)
    assert sorted(installation.state.iterdir()) == before
    assert (installation.state / "secbridge.sqlite").read_bytes() == content


def test_looking_works_while_the_store_is_open(installation: Installation) -> None:
    """The daemon's newest commits are seen, and it is not disturbed."""

    async def look(store: Store) -> tuple[str, Any]:
        delivery_id = await accepted(store)
        done = await asyncio.to_thread(installation.delivery, "list", "--json")
        return delivery_id, done.row["id"]

    accepted_id, listed_id = installation.fill(look)
    assert listed_id == accepted_id
