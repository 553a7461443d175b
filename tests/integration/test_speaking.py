"""What does the team have said?  Letters, read by the reporter's own gpg, or why there are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.answering import House, parsed
from tests.support.keys import REPORTER, Keys, Ring, copied_ring
from tests.support.messages import NOON
from tests.support.saying import ISSUE, Team, a_team, reply
from tests.support.stores import a_route

from secbridge.mail.parse import canonical_body_hash
from secbridge.model.case import IssueRef, KeyBinding
from secbridge.model.message import CertificateSource
from secbridge.model.reply import NotSaid, ReplyKind, Said, Saying
from secbridge.ports import KeyChange
from secbridge.rules import letters

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    """Return the team of the module, whose ring knows the reporter's certificate."""
    with copied_ring(keys.role) as ring:
        async with a_team(keys, ring, tmp_path_factory.mktemp("team")) as rooms:
            yield rooms


@pytest_asyncio.fixture(loop_scope="module")
async def own(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Team]:
    """Return a team of the test's own, where keys and time are changed."""
    async with a_team(keys, role_ring, tmp_path) as rooms:
        yield rooms


async def propose(house: House, case_id: str, fingerprint: str) -> None:
    """Let another certificate wait for the team's word, a minute from now."""
    source, later = CertificateSource.INSIDE, house.clock.now() + timedelta(minutes=1)
    await house.store.propose_key(KeyChange(case_id, REPORTER, fingerprint, source, later))


# ── A letter ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_reply_reaches_the_reporter_encrypted_and_the_alias_as_a_copy(team: Team) -> None:
    """The text as it was typed, to the bound key; what the issue is told is what leaves."""
    case = await team.open_case()
    said = await team.said(case, reply("Grüße,\n\nwhich version? \n> quoted\n.\nFrom here on"))
    mails = await team.mails(case)

    assert [REPORTER, team.house.alias.address] == [mail.recipient for mail in mails]
    assert mails[0].content == mails[1].content
    assert said.text.rstrip("\n") == team.read(mails[0]).rstrip("\n")
    assert "Grüße,\n\nwhich version? \n> quoted\n.\nFrom here on\n" in said.text
    assert case.id in said.subject
    assert (team.house.keys.reporter_fpr, (), False, False) == (
        said.fingerprint, said.removed, said.waits, said.again,
    )  # fmt: skip
    for mail in mails:
        await team.house.guard.allow(mail)


async def test_a_letter_is_a_persons_mail_in_the_thread_of_the_report(team: Team) -> None:
    """No mark of an automatic answer; what comes back is known again and joins the case."""
    case = await team.open_case()
    await team.said(case, reply())
    mail = (await team.mails(case))[0]
    outer = parsed(mail.content)
    own = await team.house.store.own_mail(str(outer["Message-ID"]))

    assert (REPORTER, team.house.alias.address) == (outer["To"], outer["Cc"])
    assert f"security+sb-{case.token}@example.org" == outer["Reply-To"]
    assert f"<report-{team.opened}@example.net>" == outer["In-Reply-To"]
    assert [None, None] == [outer["Auto-Submitted"], outer["X-Auto-Response-Suppress"]]
    assert str(outer["X-Secbridge-Origin"]).startswith("v1=")
    assert own is not None
    assert (case.id, mail.step, ReplyKind.REPLY) == (own.case_id, own.step, own.kind)
    assert canonical_body_hash(mail.content) == own.body_hash
    assert not mail.automatic


async def test_in_a_clear_thread_a_letter_leaves_in_clear_and_signed(team: Team) -> None:
    """As long as no key is bound; and the guard reads it for both recipients."""
    case = await team.open_case(must_encrypt=False, key=None)
    said = await team.said(case, reply("Hello.\n\nGrüße"))
    mails = await team.mails(case)

    assert None is said.fingerprint
    assert "multipart/signed" == parsed(mails[0].content).get_content_type()
    assert said.text.rstrip("\n") == team.read(mails[0]).rstrip("\n")
    for mail in mails:
        await team.house.guard.allow(mail)


async def test_where_a_key_is_bound_a_clear_thread_is_answered_encrypted(team: Team) -> None:
    """Who can read encrypted mail gets nothing else."""
    case = await team.open_case(must_encrypt=False)
    said = await team.said(case, reply())
    (mail, copy) = await team.mails(case)

    assert team.house.keys.reporter_fpr == said.fingerprint
    assert said.text.rstrip("\n") == team.read(mail).rstrip("\n")
    await team.house.guard.allow(copy)


async def test_letters_to_a_reporter_who_never_wrote_are_a_thread_of_their_own(team: Team) -> None:
    """In a case that was born in the tracker the second letter answers the first."""
    store = team.house.store
    issue = IssueRef("local", "security", "70", "70", ISSUE)
    case = await store.adopt_case(a_route(), issue, by="alice")
    await store.attach_reporter(case.id, REPORTER, by="alice")
    await team.said(case, reply())
    await team.said(case, reply("And another thing.", key="comment-2"))
    first, _, second, _ = await team.mails(case)

    assert None is parsed(first.content)["In-Reply-To"]
    assert first.message_id == parsed(second.content)["In-Reply-To"]
    await team.house.guard.allow(second)


async def test_every_kind_of_letter_leaves_in_clear_too(team: Team) -> None:
    """Our own texts pass our own guard, in each language that we bring."""
    kinds = [kind for kind in ReplyKind if kind.is_letter]
    for language in ("", "de"):
        case = await team.open_case(must_encrypt=False, key=None, language=language)
        for kind in kinds:
            saying = Saying(
                kind, f"comment-{kind}", "alice", "We have looked.", "out-of-scope", "2.4.1",
                "https://www.example.org/advisories/1",
            )  # fmt: skip
            assert "We have looked." in (await team.said(case, saying)).text
        mails = await team.mails(case)
        for mail in mails:
            await team.house.guard.allow(mail)
        assert kinds == [mail.kind for mail in mails[::2]]


# ── Once ─────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_said_once_is_not_said_again(team: Team) -> None:
    """Not after a crash, nor with another text under the same event; another event says it anew."""
    case = await team.open_case()
    await team.said(case, reply("first"))
    again = await team.said(case, reply("first"))
    edited = await team.said(case, reply("second"))
    await team.said(case, reply("first", key="comment-2"))
    mails = await team.mails(case)

    assert [True, True] == [again.again, edited.again]
    assert "first" in again.text
    assert team.house.keys.reporter_fpr == again.fingerprint
    assert 4 == len(mails)
    assert [True, True] == ["first" in team.read(mail) for mail in mails[::2]]


async def test_an_event_that_was_said_is_told_again_whatever_became_of_its_text(
    team: Team,
) -> None:
    """It went, and that must not look like a refusal."""
    case = await team.open_case()
    await team.said(case, reply("first"))
    emptied = await team.said(case, reply("<!-- nothing -->"))

    assert ("", True, True) == (emptied.text, emptied.again, emptied.changed)


async def test_a_preview_shows_what_would_leave_and_stores_nothing(own: Team) -> None:
    """Neither a mail nor a binding; then the letter is the very same text."""
    house = own.house
    earlier = await own.open_case()
    case = await own.open_case(key=None, reporter=REPORTER)
    before = await house.store.journal(case.id)
    shown = await own.speaking.preview(case, reply())

    assert [] == await own.mails(case)
    assert before == await house.store.journal(case.id)
    assert None is (await own.now(case)).key
    assert shown == await own.said(case, reply())
    assert earlier.key == (await own.now(case)).key


async def test_on_hold_a_letter_waits_until_it_is_let_go(team: Team) -> None:
    """It is queued, said to wait, and not due."""
    store, case = team.house.store, await team.open_case()
    await store.hold_mail(case.id, hold=True, by="alice")
    said = await team.said(case, reply())
    lease = timedelta(minutes=1)
    due = [row.mail.case_id for row in await store.claim_outgoing(NOON, limit=1000, lease=lease)]

    assert said.waits
    assert case.id not in due
    await store.hold_mail(case.id, hold=False, by="alice")
    let_go = await store.claim_outgoing(NOON, limit=1000, lease=lease)
    assert [case.id] * 2 == [row.mail.case_id for row in let_go]


# ── To which key? ────────────────────────────────────────────────────────────────────────────────


async def test_without_a_key_nothing_is_said_in_an_encrypted_thread(team: Team) -> None:
    """And the code tells whether one waits for the team's word."""
    case = await team.open_case(key=None)
    assert NotSaid("no-key") == await team.speaking.say(case, reply())
    await propose(team.house, case.id, team.house.keys.stranger_fpr)
    assert NotSaid("key-changed", team.house.keys.stranger_fpr) == await team.speaking.say(
        case, reply()
    )
    assert [] == await team.mails(case)


async def test_a_key_that_is_only_proposed_changes_nothing_while_the_bound_one_works(
    team: Team,
) -> None:
    """The first key is trusted, and goes on being written to."""
    case = await team.open_case()
    await propose(team.house, case.id, team.house.keys.stranger_fpr)
    said = await team.said(case, reply())

    assert team.house.keys.reporter_fpr == said.fingerprint


async def test_a_key_that_cannot_be_used_is_told(own: Team, reporter_ring: Ring) -> None:
    """What is wrong with it; or which other one came since, and waits for the team's word."""
    keys, case = own.house.keys, await own.open_case()
    own.house.ring.take(reporter_ring.revoke(keys.reporter_fpr))
    assert NotSaid("key-unusable-revoked", keys.reporter_fpr) == await own.speaking.say(
        case, reply()
    )
    await propose(own.house, case.id, keys.stranger_fpr)
    assert NotSaid("key-changed", keys.stranger_fpr) == await own.speaking.say(case, reply())


async def test_a_bound_key_that_does_not_name_the_reporter_is_not_written_to(
    own: Team,
) -> None:
    """Whatever the store says: the guard would not let it out either."""
    own.house.ring.take(own.house.keys.stranger_cert)
    case = await own.open_case(key=own.house.keys.stranger_fpr)
    assert NotSaid("key-unusable-no-user-id", own.house.keys.stranger_fpr) == (
        await own.speaking.say(case, reply())
    )


async def test_a_key_of_an_earlier_case_counts_and_that_of_a_later_one_does_not(
    own: Team,
) -> None:
    """Anybody can open a case under the same address, and bring a key of his own."""
    older = await own.open_case(key=None, reporter=REPORTER)
    own.house.clock.time += timedelta(hours=1)
    await own.open_case()
    own.house.clock.time += timedelta(hours=1)
    newer = await own.open_case(key=None, reporter=REPORTER)
    clear = await own.open_case(must_encrypt=False, key=None, reporter=REPORTER)

    assert NotSaid("no-key") == await own.speaking.say(older, reply())
    assert own.house.keys.reporter_fpr == (await own.said(newer, reply())).fingerprint
    assert own.house.keys.reporter_fpr == (await own.said(clear, reply())).fingerprint
    for case in (newer, clear):
        await own.house.guard.allow((await own.mails(case))[0])


async def test_a_key_that_a_person_bound_later_counts(own: Team) -> None:
    """The word of the team stands for all cases of the reporter."""
    older = await own.open_case(key=None, reporter=REPORTER)
    own.house.clock.time += timedelta(hours=1)
    other = await own.open_case(key=None, reporter=REPORTER)
    binding = KeyBinding(
        REPORTER,
        own.house.keys.reporter_fpr,
        CertificateSource.PERSON,
        own.house.clock.now(),
    )
    await own.house.store.bind_key(other.id, binding)

    assert binding.fingerprint == (await own.said(older, reply())).fingerprint


# ── To whom? ─────────────────────────────────────────────────────────────────────────────────────


async def test_nobody_is_written_to_who_is_no_person(team: Team) -> None:
    """Neither ourselves, nor our machines, nor what cannot stand in a header."""
    expected = [
        (None, "no-reporter"),
        ("security@example.org", "refused-robot"),
        ("security+sb-abc@example.org", "refused-robot"),
        ("cron@web1.example.org", "refused-robot"),
        ('"odd one"@example.net', "reporter-unusable"),
        ("rita@example.net\r\nBcc: x@example.com", "reporter-unusable"),
    ]
    found = []
    for reporter, _ in expected:
        case = await team.open_case(must_encrypt=False, key=None, reporter=reporter)
        said = await team.speaking.say(case, reply())
        assert isinstance(said, NotSaid)
        found.append((reporter, said.code))

    assert expected == found
    assert {code for _, code in found} <= set(letters.NOT_SAID)


# ── Which words? ─────────────────────────────────────────────────────────────────────────────────


async def test_what_may_not_leave_stays_and_is_told(team: Team) -> None:
    """Links into the tracker, mentions, and what stands below the mark for internal notes."""
    case = await team.open_case()
    said = await team.said(
        case, reply(f"See {ISSUE} for more, @alice.\nThanks!\nsb: internal\nHe is annoying.")
    )

    assert ("1 internal note", "1 link into the tracker", "1 mention") == said.removed
    assert "Thanks!" in said.text
    assert [False] * 3 == [word in said.text for word in (ISSUE, "@alice", "annoying")]


NOT_SAID = [
    (reply(""), "nothing-left"),
    (reply(f"{ISSUE}\n\n"), "nothing-left"),
    (reply("sb: internal\nnot for the reporter"), "nothing-left"),
    (replace(reply(""), kind=ReplyKind.NEED_INFO), "nothing-left"),
    (replace(reply(" \n"), kind=ReplyKind.REJECTION), "nothing-left"),
    (replace(reply(""), kind=ReplyKind.FIXED, version="1.0 @alice"), "nothing-left"),
    (replace(reply(""), kind=ReplyKind.DISCLOSED, url=f"{ISSUE} {ISSUE}"), "nothing-left"),
    (reply("x" * 100_001), "too-long"),
    (reply("漢" * 70_000), "too-long"),
]


async def test_what_says_nothing_or_too_much_is_not_said(team: Team) -> None:
    """No mail goes out that holds our own words alone, where the command is about its text."""
    case = await team.open_case(must_encrypt=False, key=None)
    expected = [NotSaid(code) for _, code in NOT_SAID]

    assert expected == [await team.speaking.say(case, saying) for saying, _ in NOT_SAID]
    assert expected == [await team.speaking.preview(case, saying) for saying, _ in NOT_SAID]
    assert [] == await team.mails(case)
    assert {code for _, code in NOT_SAID} <= set(letters.NOT_SAID)


async def test_the_longest_letter_passes_the_guard(team: Team) -> None:
    """What may be typed may leave, at three octets for each character in quoted-printable."""
    for must_encrypt in (False, True):
        mail = await team.letter(must_encrypt=must_encrypt, text=("ß" * 1000 + "\n") * 99)
        await team.house.guard.allow(mail)


async def test_a_publication_may_be_told_with_its_address_in_our_tracker(team: Team) -> None:
    """An advisory has one address, as a draft and when it is published; the team says it is."""
    case = await team.open_case(must_encrypt=False, key=None)
    said = await team.said(case, Saying(ReplyKind.DISCLOSED, "comment-1", "alice", url=ISSUE))
    await team.house.guard.allow((await team.mails(case))[0])

    assert ISSUE in said.text


async def test_facts_stay_in_their_line(team: Team) -> None:
    """A version that holds line ends begins no header, no paragraph, and no other part."""
    case = await team.open_case(must_encrypt=False, key=None)
    fact = "2.4\r\n\r\nSubject: x\n--=_sb_0\u2028From me\x00"
    said = await team.said(case, Saying(ReplyKind.FIXED, "comment-1", "alice", version=fact))
    (mail, _) = await team.mails(case)
    await team.house.guard.allow(mail)

    assert "2.4 Subject: x --=_sb_0 From me" in said.text
    assert said.text.rstrip("\n") == team.read(mail).rstrip("\n")


async def test_a_text_is_never_a_template(team: Team) -> None:
    """What looks like Jinja is what somebody typed."""
    said = await team.said(await team.open_case(), reply("{{ fingerprint }} {% raw %} {# x #}"))
    assert "{{ fingerprint }} {% raw %} {# x #}" in said.text


async def test_by_policy_a_letter_bears_the_name_of_who_sends_it(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The name of the roster; an account that is not in it is nobody's name."""
    async with a_team(keys, role_ring, tmp_path, sign_as="member") as team:
        case = await team.open_case()
        by_alice = await team.said(case, reply(key="comment-1"))
        by_mallory = await team.said(case, replace(reply(key="comment-2"), by="mallory"))
    assert "Alice Liddell" in by_alice.text
    assert "mallory" not in by_mallory.text


async def test_the_team_alone_is_named_by_default(team: Team) -> None:
    """Who of the team wrote is not told to strangers."""
    said = await team.said(await team.open_case(), reply())
    assert [False, False] == ["Alice" in said.text, "alice" in said.text]


async def test_an_operators_own_words_may_hold_what_a_member_may_not_type(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """A name with an @ in the template is the operator's decision; in the text it is taken out."""
    folder = tmp_path / "templates"
    folder.mkdir()
    text = "Subject: Your report ({{ case_id }})\n\n{{ text }}\n\nWe are @example there.\n"
    for kind in (ReplyKind.REPLY, ReplyKind.REJECTION):
        (folder / f"{kind}.j2").write_text(text)
    async with a_team(keys, role_ring, tmp_path, templates=str(folder)) as team:
        case = await team.open_case(must_encrypt=False, key=None)
        said = await team.said(case, reply("Thanks, @alice!"))
        rejection = Saying(
            ReplyKind.REJECTION, "comment-2", "alice", "It is not ours.", "third-party"
        )
        await team.said(case, rejection)
        for mail in await team.mails(case):
            await team.house.guard.allow(mail)
    assert "We are @example there." in said.text
    assert "@alice" not in said.text


# ── Whatever is typed ────────────────────────────────────────────────────────────────────────────

LINES = st.sampled_from(
    ["From me", ">From me", ".", "..", "--=_sb_0123456789abcdef01234567", "--", "-- ", "=", "=20",
     "Content-Type: text/html", "Subject: x", "", " ", "\t", "x" * 1000, "a\u2028b", "a\x0bb\x0cc",
     "\ufeffx", "é" * 80, "\U0001f600" * 30, "{{ text }}", "=46rom me", "a=\r", "\ud800"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(LINES, st.text(max_size=80)), min_size=1, max_size=6).map("\n".join)


async def test_any_text_that_is_said_is_read_as_it_was_told(team: Team) -> None:
    """By Python's own parser, after the whole way through template, MIME and signature."""
    case = await team.open_case(must_encrypt=False, key=None)
    typed: list[str] = []

    @settings(max_examples=60, deadline=None, database=None)
    @given(TEXTS)
    def collect(text: str) -> None:  # Hypothesis calls no coroutine
        typed.append(text)

    collect()
    said = [
        await team.speaking.say(case, reply(text, key=f"comment-{number}"))
        for number, text in enumerate(typed)
    ]
    read = [one for one in said if isinstance(one, Said)]
    mails = (await team.mails(case))[::2]
    for mail in mails:
        await team.house.guard.allow(mail)

    assert [one.text.rstrip("\n") for one in read] == [
        team.read(mail).rstrip("\n") for mail in mails
    ]
    assert {one.code for one in said if isinstance(one, NotSaid)} <= {"nothing-left"}
    assert len(read) > 20
