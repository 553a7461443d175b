"""What becomes of a mail that goes on with a case?  It joins, claims, or is told, and reopens.

The whole way with the real gpg, store, tracker, guard and relay (``tests.support.office``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support import mails
from tests.support.answering import parsed
from tests.support.keys import REPORTER, Keys, Ring
from tests.support.office import HELD, Office, an_office, letter
from tests.support.stores import opened_case

from secbridge.errors import PermanentFault, StoreBusy, TransientFault
from secbridge.model.case import Case, CaseStatus, IssueRef
from secbridge.model.delivery import Delivery, State
from secbridge.model.envelope import Envelope, Target
from secbridge.model.issue import IssueChange, IssueDraft
from secbridge.ports import EffectKey, HeardState
from secbridge.rules.drafting import words
from secbridge.store import Store
from secbridge.trackers.local import LocalTracker

CANARY = "Zinnobergimpel"
COLLEAGUE = "colleague@example.net"
STRANGER = "stranger@example.com"
FIRST = "<first@example.net>"
"""The Message-ID of the reporter's first mail, which anybody on copy has seen."""

A_MINUTE = timedelta(minutes=1)


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


def clear(
    text: str = "More.", *, name: str, author: str = REPORTER, subject: str = "Re", extra: str = ""
) -> bytes:
    """Return a mail in clear, whose Message-ID is made of ``name``."""
    head = mails.header("", author=author, subject=subject, extra=extra)
    return head.replace(b"<one@example.net>", f"<{name}@example.net>".encode()) + mails.text(text)


async def opened(office: Office, keys: Keys) -> tuple[str, Case]:
    """Let the reporter open an encrypted case with his key; return its delivery and the case."""
    first = await office.receive(letter(keys, CANARY, name="first", attach=[keys.reporter_cert]))
    assert (await office.delivery(first)).state is State.DONE
    await office.pass_time(A_MINUTE)
    return first, await office.case(first)


async def close(office: Office, case: Case) -> None:
    """Close the issue of a case, as a person does."""
    await office.store.change_issue(
        _number(case), IssueChange(open=False), office.house.clock.now(), by="kim"
    )


async def is_open(office: Office, case: Case) -> bool:
    """Return whether the issue of a case is open."""
    row = await office.store.read_issue(_number(case))
    assert row is not None
    return row.open


def _number(case: Case) -> int:
    assert case.issue is not None
    return int(case.issue.id)


async def reasons(office: Office, delivery_id: str) -> tuple[str, ...]:
    """Return the rules that spoke about a mail."""
    verdict = (await office.delivery(delivery_id)).verdict
    assert verdict is not None
    return verdict.reasons


async def events(office: Office, case: Case) -> list[str]:
    """Return what the journal says of a case, by name."""
    return [entry.event for entry in await office.store.journal(case.id)]


async def bounced(office: Office, case: Case, raw: bytes) -> Delivery:
    """Take a mail that came to the envelope sender of the acknowledgement."""
    alias = office.house.alias.address
    recipient = alias.replace("@", f"+sb-{case.token}-1@")
    envelope = Envelope("", (recipient,), "127.0.0.1", office.house.clock.now())
    target = Target(recipient, alias, case.token, 1)
    (delivery_id,) = await office.store.accept(envelope, raw, [target])
    await office.work()
    return await office.delivery(delivery_id)


# ── The reporter goes on ─────────────────────────────────────────────────────────────────────────


async def test_a_mail_that_answers_the_reporters_own_mail_joins_and_folds_the_quote(
    office: Office, keys: Keys
) -> None:
    """Nothing of ours is named in it: the id came in with the case, and the author is its own."""
    first, case = await opened(office, keys)
    text = "One more thing.\n\nOn 20 Nov 2026 Rita wrote:\n> Zinnobergimpel\n"
    mail = letter(keys, text, name="two", extra=f"References: {FIRST}\n")
    second = await office.receive(mail)
    assert (await office.case(second)).id == case.id
    assert await reasons(office, second) == ("thread.came-in", "encrypted.to-us")
    (told,) = await office.comments(first)
    assert told.startswith("Written by  the reporter, by the address")
    assert (
        told.index("One more thing.") < told.index("Quoted below it:") < told.index(f"> {CANARY}")
    )
    third = await office.receive(
        letter(keys, "And.", name="three", extra="In-Reply-To: <two@example.net>\n")
    )
    assert (await office.case(third)).id == case.id
    assert len(office.sent()) == 1, "a follow-up is not acknowledged"
    assert await office.store.incoming_ids(case.id) == [
        FIRST,
        "<two@example.net>",
        "<three@example.net>",
    ]


async def test_a_mail_that_comes_while_the_tracker_is_away_joins_when_it_is_back(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case is known by the first mail before its issue is there; nobody gets a second one."""
    ensure = LocalTracker.ensure_issue

    async def away(self: LocalTracker, key: EffectKey, draft: IssueDraft) -> IssueRef:
        raise TransientFault("away", "The tracker is away.")

    monkeypatch.setattr(LocalTracker, "ensure_issue", away)
    first = await office.receive(clear(CANARY, name="first"))
    await office.pass_time(A_MINUTE)
    second = await office.receive(clear(name="two", extra=f"In-Reply-To: {FIRST}\n"))
    assert (await office.delivery(second)).why == "case-not-filed"
    monkeypatch.setattr(LocalTracker, "ensure_issue", ensure)
    await office.pass_time(timedelta(hours=1))
    await office.pass_time(timedelta(hours=1))
    assert (await office.case(second)).id == (await office.case(first)).id
    assert len(await office.comments(first)) == 1
    assert len(await office.store.list_issues()) == 1


async def test_a_forged_reporter_joins_marked_and_gains_nothing(office: Office, keys: Keys) -> None:
    """In clear, with a known id and a key of the forger's own, which is only a question."""
    first, case = await opened(office, keys)
    forged = keys.stranger.make_key(f"Rita <{REPORTER}>")
    certificate = keys.stranger.export(forged)
    keys.stranger.forget(forged)
    head = mails.header("", extra=f"In-Reply-To: {FIRST}\n").replace(b"<one@", b"<forged@")
    body = mails.multipart(
        "mixed",
        [
            mails.text("New key."),
            mails.file(certificate, "k.asc", media_type="application/pgp-keys"),
        ],
    )
    second = await office.receive(head + body)
    assert (await office.case(second)).id == case.id
    told = await office.comments(first)
    assert "ATTENTION: this mail came in clear, though its thread is encrypted." in told[0]
    assert "Another key came" in told[1]
    now = await office.case(first)
    assert now.key is not None
    assert now.key.fingerprint == keys.reporter_fpr
    assert now.must_encrypt
    clear_mails = [one for one in office.sent() if CANARY.encode() in one.content]
    assert clear_mails == []


async def test_a_mail_signed_with_the_bound_key_is_the_reporters_from_any_address(
    office: Office, keys: Keys
) -> None:
    """It joins by an id that came in, and reopens; the address that is answered stays the same."""
    first, case = await opened(office, keys)
    await close(office, case)
    mail = letter(
        keys, "From home.", author="rita@home.example", name="two",
        sign=(keys.reporter, keys.reporter_fpr), extra=f"References: {FIRST}\n",
    )  # fmt: skip
    second = await office.receive(mail, sender="rita@home.example")
    assert await reasons(office, second) == ("thread.came-in", "thread.signer", "encrypted.to-us")
    (told,) = await office.comments(first)
    assert "the reporter, by the signature; the address is another one" in told
    assert await is_open(office, case)
    assert (await office.case(first)).reporter == REPORTER


# ── Those who only claim ─────────────────────────────────────────────────────────────────────────


async def test_whoever_only_names_a_case_opens_a_new_one_that_says_so(
    office: Office, keys: Keys
) -> None:
    """By an id that came in, or by the subject: the earlier issue is told once, and not joined."""
    first, case = await opened(office, keys)
    opening = {
        "by the Message-ID of a mail in it, which others may know, too": letter(
            keys, "Hi.", author=STRANGER, name="two", extra=f"In-Reply-To: {FIRST}\n"
        ),
        "by its subject alone": clear(name="three", subject=f"Re: [{case.id.lower()}] report"),
    }
    for how, raw in opening.items():
        later = await office.receive(raw, sender=STRANGER)
        new = await office.case(later)
        assert new.id != case.id
        assert "thread.claims-case" in await reasons(office, later)
        report = await office.report(later)
        assert f"This mail claims to continue {case.id}, {how}." in report
        assert report.index(new.id) < report.index("claims to continue")
        await office.pass_time(HELD)  # the first of the two waits for a key, and is tried again
        told = [each for each in await office.comments(first) if new.id in each]
        assert told == [
            f"Case {new.id} was opened by a mail that claims to continue this one, {how}.\n"
        ]
    assert len(await office.comments(first)) == 2


async def test_a_subject_that_names_no_case_of_this_alias_means_nothing(
    office: Office, keys: Keys
) -> None:
    """Numbers of others are nothing to those behind this alias."""
    _, case = await opened(office, keys)
    elsewhere = replace(case.route, alias="board@example.org", project="board")
    accepted = await office.accept(clear(name="other", author=STRANGER), sender=STRANGER)
    foreign = await opened_case(
        office.store, accepted, elsewhere, reporter=STRANGER, must_encrypt=False
    )
    for number, named in enumerate((foreign.id, "SB-2026-0999")):
        subject = f"Re: {named}"
        later = await office.receive(clear(name=f"m{number}", author=STRANGER, subject=subject))
        assert "thread.claims-case" not in await reasons(office, later)
        assert "claims to continue" not in await office.report(later)


async def test_a_key_of_another_case_opens_no_door_to_this_one(office: Office, keys: Keys) -> None:
    """A reporter of one case, who signs well, is a stranger in another."""
    _, case = await opened(office, keys)
    mine = (keys.stranger, keys.stranger_fpr)
    own = letter(
        keys, "Mine.", author=STRANGER, name="mine", attach=[keys.stranger_cert], sign=mine
    )
    await office.receive(own, sender=STRANGER)
    spoof = letter(
        keys, "Yours.", author=STRANGER, name="spoof", sign=mine, extra=f"References: {FIRST}\n"
    )
    later = await office.receive(spoof, sender=STRANGER)
    assert (await office.case(later)).id != case.id
    assert "thread.claims-case" in await reasons(office, later)


# ── New participants ─────────────────────────────────────────────────────────────────────────────


async def test_a_stranger_with_the_address_of_a_case_joins_as_a_new_participant(
    office: Office, keys: Keys
) -> None:
    """He opens nothing again, is not answered, and his key is never taken for the reporter's."""
    first, case = await opened(office, keys)
    await close(office, case)
    mail = letter(
        keys, "I am his colleague.", author=COLLEAGUE, name="two",
        attach=[keys.stranger_cert], sign=(keys.stranger, keys.stranger_fpr),
    )  # fmt: skip
    second = await office.receive(mail, sender=COLLEAGUE, token=case.token)
    assert await reasons(office, second) == (
        "thread.token",
        "thread.participant-new",
        "encrypted.to-us",
    )
    (told,) = await office.comments(first)
    assert told.startswith("Written by  new participant")
    assert words.STAYS_CLOSED in told
    now = await office.case(first)
    assert (now.reporter, now.key) == (REPORTER, case.key)
    assert not await is_open(office, case)
    assert office.sent(COLLEAGUE) == []
    assert await office.store.key_changes(case.id) == []
    named = letter(
        keys, "Again.", author=COLLEAGUE, name="three", extra="References: <two@example.net>\n"
    )
    third = await office.receive(named, sender=COLLEAGUE)
    assert (await office.case(third)).id != case.id, "being in it once is no standing invitation"


async def test_ten_thousand_references_are_read_and_bounded(office: Office, keys: Keys) -> None:
    """The mail joins by what is still read, and a flood of ids is no fault."""
    _, case = await opened(office, keys)
    (acknowledged, *_) = office.sent()
    ours = parsed(acknowledged.content)["Message-ID"]
    flood = "".join(f" <{number}@flood.example>\n" for number in range(10_000))
    extra = f"In-Reply-To: {ours}\nReferences:\n{flood}"
    second = await office.receive(clear(name="two", extra=extra))
    assert (await office.case(second)).id == case.id
    assert await reasons(office, second) == ("thread.references",)


# ── Closed issues ────────────────────────────────────────────────────────────────────────────────


async def test_the_reporter_reopens_a_closed_issue_once(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracker that goes away in the middle costs time, and nothing is told twice."""
    first, case = await opened(office, keys)
    await close(office, case)
    update = LocalTracker.update

    async def away(self: LocalTracker, ref: IssueRef, change: IssueChange) -> None:
        raise TransientFault("away", "The tracker is away.")

    monkeypatch.setattr(LocalTracker, "update", away)
    second = await office.receive(clear(name="two", extra=f"In-Reply-To: {FIRST}\n"))
    waiting = await office.delivery(second)
    assert waiting.state is State.DEFERRED
    assert waiting.attempted_at is not None, "the next try looks for the comment first"
    monkeypatch.setattr(LocalTracker, "update", update)
    await office.store.keep_state(case.id, HeardState(False, case.route.labels, ()))
    await office.pass_time(timedelta(hours=1))
    (told,) = await office.comments(first)
    assert words.WAS_REOPENED in told
    assert await is_open(office, case)
    heard = await office.store.heard_state(case.id)
    assert heard is not None
    assert heard.open, "a state that we changed stands for no command"
    assert (await events(office, case)).count("case.reopened") == 1
    await office.receive(clear(name="three", extra=f"In-Reply-To: {FIRST}\n"))
    assert words.WAS_REOPENED not in (await office.comments(first))[-1]
    assert (await events(office, case)).count("case.reopened") == 1


async def test_a_death_after_the_reopening_leaves_no_word_of_a_person(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the issue is like by our own hand is recorded by the next try, as it would have been."""
    first, case = await opened(office, keys)
    await close(office, case)
    await office.store.keep_state(case.id, HeardState(False, case.route.labels, ()))

    async def busy(self: Store, case_id: str, state: HeardState) -> None:
        raise StoreBusy("store-busy", "The store is busy.")

    with monkeypatch.context() as dying:
        dying.setattr(Store, "keep_state", busy)
        await office.receive(clear(name="two", extra=f"In-Reply-To: {FIRST}\n"))
    assert await is_open(office, case)
    await office.pass_time(timedelta(hours=1))
    heard = await office.store.heard_state(case.id)
    assert heard is not None
    assert heard.open
    assert len(await office.comments(first)) == 1


async def test_a_tracker_that_does_not_reopen_asks_a_person_to(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow may know no way back; the mail is there all the same."""
    first, case = await opened(office, keys)
    await close(office, case)

    async def never(self: LocalTracker, ref: IssueRef, change: IssueChange) -> None:
        raise PermanentFault("no-transition", "No way back.")

    monkeypatch.setattr(LocalTracker, "update", never)
    await office.receive(clear(name="two", extra=f"In-Reply-To: {FIRST}\n"))
    assert words.CANNOT_REOPEN in (await office.comments(first))[-1]
    assert "case.reopened" not in await events(office, case)


async def test_spam_stays_closed_and_so_does_all_where_the_operator_says_so(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """What the team called spam is not brought back by another mail of the same hand."""
    for name, status, reopens in (
        ("a", CaseStatus.SPAM, True),
        ("b", CaseStatus.FIXED, False),
    ):
        (tmp_path / name).mkdir()
        async with an_office(keys, role_ring, tmp_path / name, reopens=reopens) as office:
            first = await office.receive(clear(CANARY, name="first"))
            case = await office.case(first)
            await office.store.set_status(case.id, status, by="kim")
            await close(office, case)
            await office.receive(clear(name="two", extra=f"References: {FIRST}\n"))
            assert words.STAYS_CLOSED in (await office.comments(first))[-1]
            assert not await is_open(office, case)


# ── Machines ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_machines_write_reopens_nothing(office: Office, keys: Keys) -> None:
    """An automatic reply is only noted, and a bounce is told of the mail that it is about."""
    first, case = await opened(office, keys)
    await close(office, case)
    away = clear("I am away.", name="away", extra="Auto-Submitted: auto-replied\n")
    noted = await office.receive(away, sender="", token=case.token)
    assert (await office.delivery(noted)).state is State.DONE
    assert (await office.delivery(noted)).case_id == case.id
    assert await office.comments(first) == []
    report = mails.multipart(
        "report",
        [
            mails.text("It was not delivered."),
            mails.entity(
                "message/delivery-status",
                f"Reporting-MTA: dns; mx.example.net\n\nFinal-Recipient: rfc822; {REPORTER}\n"
                "Action: failed\nStatus: 5.1.1\n",
            ),
        ],
        params="; report-type=delivery-status",
    )
    head = mails.header("", author="MAILER-DAEMON@mx.example.net").replace(b"<one@", b"<dsn@")
    bounce = await bounced(office, case, head + report)
    assert bounce.state is State.DONE
    (told,) = await office.comments(first)
    assert words.notice((await office.outbox(first))[0].kind) in told
    assert not await is_open(office, case)
    assert len(office.relay.taken) == 2, "the acknowledgement and its copy"
