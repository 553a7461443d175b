"""Who handles the case?  The mails to the team, and attacks on the guard with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.support.answering import SECRET, parsed
from tests.support.keys import Keys, copied_ring
from tests.support.messages import NOON
from tests.support.saying import ALICE, BOB, ISSUE, Team, a_team, reply

from secbridge.errors import Refusal
from secbridge.model.alias import Member
from secbridge.model.case import Case
from secbridge.model.reply import OutgoingMail, ReplyKind, ReplyText
from secbridge.pipeline.letters import Letter, LetterDesk
from secbridge.rules import letters

CAROL = "stranger@example.com"
"""The member whose key the ring knows."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    """Return a team of four: one has a key that the ring knows, one has one that it does not."""
    members = (
        ALICE,
        BOB,
        Member(CAROL, account="carol", fingerprint=keys.stranger_fpr, name="Carol"),
        Member("dave@example.org", account="dave", fingerprint="0" * 40),
    )
    with copied_ring(keys.role) as ring:
        ring.take(keys.stranger_cert)
        async with a_team(keys, ring, tmp_path_factory.mktemp("team"), members=members) as rooms:
            yield rooms


async def taken(team: Team, case: Case, handler: str, *, by: str) -> tuple[int, list[OutgoingMail]]:
    """Let somebody take a case; return what was told to how many, and the mails of it."""
    before = len(await team.mails(case))
    await team.house.store.take_case(case.id, handler, by=by)
    told = await team.claiming.announce(case, handler, by=by)
    return told, (await team.mails(case))[before:]


async def test_the_others_are_told_who_took_a_case(team: Team) -> None:
    """Each in a mail of their own, encrypted where there is a key, with nothing of the report."""
    case = await team.open_case()
    told, mails = await taken(team, case, "Alice Liddell", by="alice")

    assert 3 == told
    assert [BOB.address, CAROL, "dave@example.org"] == [mail.recipient for mail in mails]
    keys = team.house.keys
    encrypted = (keys.stranger_fpr, keys.role_fpr)
    assert [(), encrypted, ()] == [mail.encrypted_to for mail in mails]
    for mail in mails:
        await team.house.guard.allow(mail)
        text = team.read(mail, keys.stranger)
        assert [True] * 3 == [word in text for word in (case.id, "Alice Liddell", ISSUE)]
        assert (case.reporter or "") not in text


async def test_a_claim_is_marked_as_a_machines_and_counts_towards_no_budget(team: Team) -> None:
    """Programs that are on holiday stay silent; the alias gets no copy; the thread is another."""
    case = await team.open_case()
    _, mails = await taken(team, case, "Alice Liddell", by="alice")
    since, store = NOON - timedelta(days=1), team.house.store

    for mail in mails:
        outer = parsed(mail.content)
        assert ("auto-generated", "All") == (
            outer["Auto-Submitted"], outer["X-Auto-Response-Suppress"],
        )  # fmt: skip
        assert [None, None] == [outer["Cc"], outer["In-Reply-To"]]
    assert 0 == await store.automatic_since(since, case_id=case.id)
    assert not await store.answers_of(case.id) & {mail.step for mail in mails}


async def test_nobody_is_told_twice_and_everybody_when_it_changes_hands(team: Team) -> None:
    """A repeated command says nothing; a case that comes back to somebody is announced again."""
    case = await team.open_case()
    told = [
        (await taken(team, case, handler, by=by))[0]
        for handler, by in (
            ("Alice Liddell", "alice"), ("Alice Liddell", "alice"), ("Bob", "bob"),
            ("Bob", "bob"), ("Alice Liddell", "alice"), ("Alice Liddell", "alice"),
        )
    ]  # fmt: skip

    assert [3, 0, 3, 0, 3, 0] == told
    steps = [mail.step for mail in await team.mails(case)]
    assert len(set(steps)) == len(steps) == 9


async def test_whom_somebody_else_put_in_charge_is_told_too(team: Team) -> None:
    """They may not know yet."""
    case = await team.open_case()
    _, mails = await taken(team, case, "Bob", by="alice")
    assert BOB.address in {mail.recipient for mail in mails}


async def test_in_the_embedded_tracker_the_mail_says_how_the_issue_is_read(team: Team) -> None:
    """There is no address to follow."""
    case = await team.open_case(url="")
    _, mails = await taken(team, case, "Alice Liddell", by="alice")
    await team.house.guard.allow(mails[0])
    assert case.issue is not None
    assert f"secbridge issue show {case.issue.number}" in team.read(mails[0])


async def test_a_name_stays_in_its_line(team: Team) -> None:
    """It comes from the tracker, where people choose how they are called."""
    case = await team.open_case()
    name = "Mallory\r\nBcc: x@example.com\r\n\r\n{{ case_id }}" + "x" * 10_000
    _, mails = await taken(team, case, name, by="mallory")
    await team.house.guard.allow(mails[0])

    assert None is parsed(mails[0].content)["Bcc"]
    assert len(mails[0].content) < 10_000
    assert "Mallory Bcc: x@example.com {{ case_id }}xxx" in team.read(mails[0])


# ── Attacks ──────────────────────────────────────────────────────────────────────────────────────


async def refused(team: Team, mail: OutgoingMail) -> str:
    """Return the code with which the guard holds a mail back."""
    with pytest.raises(Refusal) as caught:
        await team.house.guard.allow(mail)
    return caught.value.code


async def made(team: Team, case: Case, **given: object) -> OutgoingMail:
    """Return a finished claim with anything in it, as the desk makes it."""
    case = await team.now(case)
    alias = team.house.alias
    letter = Letter(
        case=case,
        alias=alias,
        kind=ReplyKind.CLAIM,
        step="claim-123456",
        to=BOB.address,
        text=team.house.wording.write(
            ReplyKind.CLAIM, alias=alias, case_id=case.id, encrypted=False,
            facts=letters.claim_facts(case),
        ),
        must_encrypt=False,
        automatic=False,
        copy=False,
    )  # fmt: skip
    desk = LetterDesk(team.house.openpgp, secret=SECRET, clock=team.house.clock)
    changed = replace(letter, **given)  # type: ignore[arg-type]  # names are checked there
    return (await desk.finish(changed))[0]


async def test_a_claim_says_what_the_store_says_to_those_of_the_roster(team: Team) -> None:
    """Its words are built again; so it is no way out for anything else, or for anybody else."""
    case, keys = await team.open_case(), team.house.keys
    await taken(team, case, "Alice Liddell", by="alice")
    await team.house.guard.allow(await made(team, case))
    genuine = ReplyText(f"{case.id} is being handled by Alice Liddell", "xylophone-canary")
    codes = {
        "other words": await refused(team, await made(team, case, text=genuine)),
        "the reporter": await refused(team, await made(team, case, to=case.reporter)),
        "a stranger": await refused(team, await made(team, case, to="bob@example.com")),
        "another spelling": await refused(team, await made(team, case, to="Bob@example.org")),
        "another key": await refused(team, await made(team, case, encrypt_to=keys.stranger_fpr)),
        "a copy": await refused(team, await made(team, case, copy=True)),
        "a letter's step": await refused(team, await made(team, case, step="letter-123456")),
        "as a letter": await refused(
            team, await made(team, case, kind=ReplyKind.REPLY, to=case.reporter)
        ),
    }
    assert codes == {
        "other words": "guard-claim",
        "the reporter": "guard-not-member",
        "a stranger": "guard-not-member",
        "another spelling": "guard-not-member",
        "another key": "guard-not-member",
        "a copy": "guard-altered",
        "a letter's step": "guard-kind",
        "as a letter": "guard-clear-in-encrypted-thread",
    }


async def test_a_claim_that_is_not_true_any_more_stays(team: Team) -> None:
    """Somebody else took the case while it waited for the relay."""
    case = await team.open_case()
    _, mails = await taken(team, case, "Alice Liddell", by="alice")
    await team.house.store.take_case(case.id, "Bob", by="bob")
    assert await refused(team, mails[0]) == "guard-claim"


async def test_letters_and_claims_do_not_get_in_each_others_way(team: Team) -> None:
    """A claim is no answer to the reporter, and a letter none to the team."""
    case = await team.open_case(must_encrypt=False, key=None)
    await taken(team, case, "Alice Liddell", by="alice")
    await team.said(case, reply())
    await taken(team, case, "Bob", by="bob")
    for mail in await team.mails(case):
        if mail.kind is ReplyKind.REPLY:
            await team.house.guard.allow(mail)
