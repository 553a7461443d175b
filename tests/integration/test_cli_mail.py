"""mail: what did we send, and did it leave?  Listed and shown, and never what it says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.commands import Done, secbridge
from tests.support.running import write_config
from tests.support.stores import (
    ALIAS,
    LEASE,
    NOON,
    StillClock,
    a_route,
    an_answer,
    opened_case,
    routed,
)

from secbridge.cli.boundary import CommandFailed
from secbridge.cli.mail import StateOption, find
from secbridge.model.case import IssueRef
from secbridge.model.delivery import Answered, Filed
from secbridge.model.reply import ReplyKind
from secbridge.settings import load
from secbridge.store import Store

REPORTER = "reporter@example.net"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the configuration of an installation with mails in every state that people see."""
    folder = tmp_path_factory.mktemp("mails")
    asyncio.run(_fill(folder / "state" / "secbridge.sqlite"))
    return write_config(folder, role_home=folder, role_key="A" * 40, relay_port=1)


async def _fill(path: Path) -> None:
    """1: sent, 2: refused (the alias's copy), 3: on hold, 4: kept here, of another case."""
    store = await Store.open(path, clock=StillClock())
    first, second = await _case(store, "1"), await _case(store, "2")
    (delivery, _) = sorted(found.id for found in await store.find())
    acknowledgement = an_answer(first)
    both = (acknowledgement, replace(acknowledgement, recipient=ALIAS))
    await store.record(delivery, Answered(both))
    sent, refused = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.outgoing_sent(sent.id, "250 2.0.0")
    await store.outgoing_refused(refused.id, "5.2.2", quarantine=False)
    await store.hold_mail(first, hold=True, by="alice")
    letter = replace(an_answer(first, step="letter-1000"), kind=ReplyKind.REPLY, automatic=False)
    claim = replace(an_answer(second, "bob@example.org", step="claim-1"), kind=ReplyKind.CLAIM)
    await store.post([letter, claim])
    (kept,) = await store.claim_outgoing(NOON, limit=9, lease=LEASE)
    await store.outgoing_refused(kept.id, "guard-altered", quarantine=True)
    await store.told(kept.id)
    await store.aclose()


async def _case(store: Store, name: str) -> str:
    delivery = await routed(store, name)
    case = await opened_case(store, delivery.id, a_route(), reporter=REPORTER, must_encrypt=True)
    await store.record(delivery.id, Filed(case.id, IssueRef("local", "security", name, name)))
    return case.id


def mail(config: Path, *arguments: str, status: int = 0) -> Done:
    """Run ``secbridge mail …``."""
    done = secbridge("mail", *arguments, config=config)
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    assert b"We have it" not in done.out
    return done


def test_the_list_shows_every_mail_newest_first(config: Path) -> None:
    """One JSON object a line, every key always there, each copy for itself."""
    rows = mail(config, "list", "--json").rows
    assert [
        (4, "member", "quarantined", False),
        (3, "reporter", "queued", True),
        (2, "alias", "refused", False),
        (1, "reporter", "sent", False),
    ] == [(row["id"], row["to"], row["state"], row["on_hold"]) for row in rows]
    assert {frozenset(row) for row in rows} == {frozenset(rows[0])}
    assert [False, True, True] == [row["delivery"] is not None for row in rows[1:]]
    assert [False, True, True] == [row["automatic"] for row in rows[1:]]
    assert (NOON.isoformat(), None) == (rows[3]["sent_at"], rows[2]["sent_at"])


@pytest.mark.parametrize(
    ("state", "case", "limit", "expected"),
    [
        ("refused", None, 9, [2]),
        (None, "SB-2026-0001", 9, [3, 2, 1]),
        (None, "SB-2026-0001", 2, [3, 2]),
        ("quarantined", "SB-2026-0002", 9, [4]),
        ("outdated", None, 9, []),
    ],
)
async def test_the_list_can_be_of_one_state_or_case(
    config: Path, state: str | None, case: str | None, limit: int, expected: list[int]
) -> None:
    """Or of both, and of no more than so many."""
    wanted = StateOption(state) if state else None
    found = await find(load(config), wanted, case, limit)
    assert expected == [outgoing.id for outgoing, _ in found]


async def test_a_case_that_is_not_there_is_told(config: Path) -> None:
    """An empty list would say that it was never written to."""
    with pytest.raises(CommandFailed, match="SB-1999-0001"):
        await find(load(config), None, "SB-1999-0001", 9)


def test_a_person_gets_a_table(config: Path) -> None:
    """With what waits for a person to release it marked as such."""
    text = mail(config, "list").text
    assert "queued (on hold)" in text
    assert "guard-altered" in text


def test_one_mail_is_shown_with_its_life(config: Path) -> None:
    """What it is in words, who gets it, and what the journal knows of it; not what it says."""
    text = " ".join(mail(config, "show", "2").text.split())
    for said in ("the acknowledgement", f"{ALIAS} (alias)", "5.2.2", "mail.refused", "a machine"):
        assert said in text
    (row,) = mail(config, "show", "4", "--json").rows
    assert ("claim", NOON.isoformat()) == (row["kind"], row["told_at"])
    assert ["mail.quarantined"] == [entry["event"] for entry in row["journal"]]
    assert "There is no mail of ours 99" in mail(config, "show", "99", status=2).err
