"""May this letter leave?  Attacks on the only door with mails that hold words of a person.

The attacker is a bug of ours, or somebody who took over the rooms before the guard: what is altered
is signed, or encrypted, for real.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from tests.support.answering import SECRET
from tests.support.keys import REPORTER, Keys, copied_ring, fresh_ring
from tests.support.relay import a_relay
from tests.support.saying import ISSUE, Team, a_team

from secbridge.errors import Refusal
from secbridge.model.case import Case
from secbridge.model.delivery import OutgoingState
from secbridge.model.message import CertificateSource
from secbridge.model.reply import OutgoingMail, ReplyKind, ReplyText
from secbridge.outbound import SmtpSubmission
from secbridge.outbound.strict import read
from secbridge.pipeline.letters import Letter, LetterDesk
from secbridge.pipeline.sending import Sender
from secbridge.pipeline.waiting import RetryPolicy
from secbridge.ports import KeyChange

CANARY = "xylophone-canary"
TEXT = b"Thank you, we can reproduce it."

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    """Return the team of the module; the ring knows the reporter's and the stranger's keys."""
    with copied_ring(keys.role) as ring:
        ring.take(keys.stranger_cert)
        async with a_team(keys, ring, tmp_path_factory.mktemp("team")) as rooms:
            yield rooms


@pytest_asyncio.fixture(loop_scope="module")
async def clear(team: Team) -> OutgoingMail:
    """Return a genuine letter in clear, in a case of its own."""
    return await team.letter(must_encrypt=False)


@pytest_asyncio.fixture(loop_scope="module")
async def secret(team: Team) -> OutgoingMail:
    """Return a genuine encrypted letter, in a case of its own."""
    return await team.letter(must_encrypt=True)


async def refused(team: Team, mail: OutgoingMail) -> str:
    """Return the code with which the guard holds a mail back; it holds nothing of the mail."""
    with pytest.raises(Refusal) as caught:
        await team.house.guard.allow(mail)
    assert CANARY not in str(caught.value)
    return caught.value.code


async def case_of(team: Team, mail: OutgoingMail) -> Case:
    """Return the case of a mail."""
    case = await team.house.store.get_case(mail.case_id)
    assert case is not None
    return case


async def made(
    team: Team, case: Case, text: str, *, subject: str | None = None, **given: object
) -> OutgoingMail:
    """Return a finished clear letter with any text in any step, as the desk makes it."""
    letter = Letter(
        case=case,
        alias=team.house.alias,
        kind=ReplyKind.REPLY,
        step="letter-123456",
        to=case.reporter or "",
        text=ReplyText(f"Re: [{case.id}]" if subject is None else subject, text),
        must_encrypt=False,
        automatic=False,
    )
    desk = LetterDesk(team.house.openpgp, secret=SECRET, clock=team.house.clock)
    changed = replace(letter, **given)  # type: ignore[arg-type]  # names are checked there
    return (await desk.finish(changed))[0]


async def resigned(team: Team, mail: OutgoingMail, old: bytes, new: bytes) -> OutgoingMail:
    """Return a clear letter with one place of what is signed replaced, and signed for real."""
    parts = read(mail.content, limit=1 << 20)
    assert parts.signed is not None
    assert old in parts.signed
    signed = parts.signed.replace(old, new, 1)
    signature = await team.house.openpgp.sign_detached(signed, signer=team.house.alias.signing_key)
    armor = signature.armor.strip().replace(b"\n", b"\r\n")
    content = mail.content.replace(parts.signed, signed).replace(parts.armor.strip(), armor)
    return replace(mail, content=content)


# ── The row and the thread ───────────────────────────────────────────────────────────────────────


async def test_what_the_attacks_begin_with_may_leave(
    team: Team, clear: OutgoingMail, secret: OutgoingMail
) -> None:
    """So that each refusal below is about what differs."""
    for mail in (clear, secret, await made(team, await case_of(team, clear), "Hello.")):
        await team.house.guard.allow(mail)
    await team.house.guard.allow(await resigned(team, clear, TEXT, b"Something else."))


async def test_a_letter_goes_to_the_reporter_of_its_case_and_to_nobody_else(
    team: Team, clear: OutgoingMail
) -> None:
    """Neither to another address in its header, nor to two, nor past its header."""
    case = await case_of(team, clear)
    to = f"To: {case.reporter}\r\n".encode()
    two = f"To: {case.reporter}, stranger@example.com\r\n".encode()
    codes = [
        await refused(team, await made(team, case, "Hello.", to="stranger@example.com")),
        await refused(team, await made(team, case, "Hello.", to=(case.reporter or "").upper())),
        await refused(team, replace(clear, recipient="stranger@example.com")),
        await refused(team, replace(clear, content=clear.content.replace(to, two))),
        await refused(team, replace(clear, content=clear.content.replace(to, to + b"B" + to))),
    ]
    assert codes == [
        "guard-not-reporter", "guard-not-reporter", "guard-recipient", "guard-recipient",
        "guard-header",
    ]  # fmt: skip


async def test_a_letter_stays_when_the_reporter_became_another(
    team: Team, clear: OutgoingMail
) -> None:
    """It was written to somebody who is not the reporter any more."""
    await team.house.guard.allow(clear)
    await team.house.store.attach_reporter(clear.case_id, "other@example.net", by="alice")
    assert await refused(team, clear) == "guard-not-reporter"


async def test_a_clear_letter_stays_when_its_thread_became_an_encrypted_one(
    team: Team, clear: OutgoingMail
) -> None:
    """Be it that a mail came encrypted since, or that a key was bound."""
    await team.house.guard.allow(clear)
    await team.house.store.require_encryption(clear.case_id)
    other = await team.letter(must_encrypt=False)
    await team.bind(await case_of(team, other), team.house.keys.reporter_fpr)
    codes = {await refused(team, mail) for mail in (clear, other, replace(other, case_id="x"))}
    assert codes == {"guard-clear-in-encrypted-thread", "guard-not-reporter"}


async def test_a_letter_that_was_outdated_waits_for_a_person(
    team: Team, clear: OutgoingMail
) -> None:
    """It cannot be built anew, since its text is kept nowhere; nothing of it reaches the relay."""
    store, clock = team.house.store, team.house.clock
    await store.require_encryption(clear.case_id)
    async with a_relay() as relay:
        submission = SmtpSubmission(
            host="127.0.0.1", port=relay.port, tls="none", ca_file=None, username=None,
            password=None, timeout=30, hostname="mail.example.org",
        )  # fmt: skip
        retry = RetryPolicy(first=timedelta(minutes=1), maximum=timedelta(minutes=5))
        sender = Sender(store, team.house.guard, submission, clock=clock, retry=retry)
        for row in await store.mails_of_case(clear.case_id):
            await sender.send(row)
        await submission.aclose()
        assert [] == relay.taken
    rows = await store.mails_of_case(clear.case_id)
    assert [OutgoingState.QUARANTINED] * 2 == [row.state for row in rows]
    assert {"guard-clear-in-encrypted-thread"} == {row.last_status for row in rows}


async def test_a_letter_is_encrypted_to_the_key_that_is_bound_now(
    team: Team, secret: OutgoingMail
) -> None:
    """The team has put another one in its place since; what was only proposed never counts."""
    store, keys = team.house.store, team.house.keys
    with fresh_ring() as ring:
        new = ring.make_key(f"Rita Reporter <{REPORTER}>")
        team.house.ring.take(ring.export(new))
    to_new = await made(
        team, await case_of(team, secret), "Hello.", encrypt_to=new, must_encrypt=True
    )
    change = KeyChange(
        secret.case_id, REPORTER, new, CertificateSource.INSIDE, team.house.clock.now()
    )
    await store.propose_key(change)
    await team.house.guard.allow(secret)
    assert await refused(team, to_new) == "guard-not-bound"
    await store.accept_key(secret.case_id, new, by="alice")
    assert await refused(team, secret) == "guard-not-bound"
    await team.house.guard.allow(to_new)
    disguised = replace(to_new, encrypted_to=(new, keys.stranger_fpr))
    assert await refused(team, disguised) == "guard-intended"


async def test_only_steps_of_letters_hold_letters(team: Team, clear: OutgoingMail) -> None:
    """Nor is there a second way to write a number: the step names one mail."""
    case = await case_of(team, clear)
    letters = {
        "ack": "guard-kind",
        "notice-send-key": "guard-kind",
        "claim-123456": "guard-kind",
        "letter-7": "guard-reverse-path",
        "letter-0123456": "guard-reverse-path",
    }
    found = {
        step: await refused(team, await made(team, case, "Hello.", step=step)) for step in letters
    }
    assert found == letters
    assert await refused(team, replace(clear, kind=ReplyKind.ACKNOWLEDGEMENT)) == "guard-kind"
    claim = replace(clear, kind=ReplyKind.CLAIM)
    assert await refused(team, claim) == "guard-not-member"


async def test_a_letter_belongs_to_its_case(team: Team, clear: OutgoingMail) -> None:
    """Neither token nor Message-ID nor number of another one will do."""
    other = await team.letter(must_encrypt=False)
    codes = [
        await refused(team, replace(clear, case_id=other.case_id)),
        await refused(team, replace(clear, reverse_path=other.reverse_path)),
        await refused(team, replace(clear, step=other.step)),
        await refused(team, replace(clear, message_id=other.message_id)),
        await refused(team, replace(clear, step=other.step, reverse_path=other.reverse_path)),
    ]
    assert codes == [
        "guard-not-reporter", "guard-reverse-path", "guard-reverse-path", "guard-message-id",
        "guard-reverse-path",
    ]  # fmt: skip


# ── The text ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_may_not_leave_the_tracker_is_found_once_more(
    team: Team, clear: OutgoingMail
) -> None:
    """A bug before the guard forgot to clean: links, our markers, uploads, mentions, notes."""
    case = await case_of(team, clear)
    texts = [
        f"See {ISSUE} for more.",
        "See https://GitLab.example.org:443/acme/web/-/issues/7#note_1 for more.",
        case.marker,
        f"<!-- secbridge:comment={case.marker} -->",
        "[log](/uploads/0123456789abcdef0123456789abcdef/log.txt)",
        "Ask @alice.",
        "Hello.\nsb: internal\nHe is annoying.",
        "Hello.\u200b",
    ]
    codes = [await refused(team, await made(team, case, text)) for text in texts]
    assert codes == ["guard-text"] * len(texts)


async def test_a_subject_is_one_printable_line_that_names_the_case(
    team: Team, clear: OutgoingMail
) -> None:
    """It is seen by everybody on the way."""
    case = await case_of(team, clear)
    subjects = ["Re: your report", f"{case.id} " + "x" * 200, f"{case.id} a\u202eb", ""]
    codes = [
        await refused(team, await made(team, case, "Hello.", subject=subject))
        for subject in subjects
    ]
    assert codes == ["guard-subject"] * len(subjects)
    odd = f"Grüße =?x?= [{case.id}] " + "漢" * 100
    await team.house.guard.allow(await made(team, case, "Hello.", subject=odd))


async def test_nothing_is_signed_beside_the_text(team: Team, clear: OutgoingMail) -> None:
    """No second part, no other header field, no other coding, nothing before or behind."""
    boundary = b"--" + clear.content.split(b'protected-headers="v1"')[0].rsplit(b'"', 2)[1]
    hidden = b"Content-Type: text/plain\r\n\r\n" + CANARY.encode() + b"\r\n" + boundary + b"\r\n"
    html = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"
    plain = html.replace(b"html", b"plain")
    attacks = [
        (boundary + b"\r\n", boundary + b"\r\n" + hidden),
        (TEXT, TEXT + b"\r\n" + boundary + b"\r\nContent-Type: text/plain\r\n\r\n" + TEXT),
        (b"\r\n\r\n" + boundary, b"\r\n\r\n" + CANARY.encode() + b"\r\n" + boundary),
        (boundary + b"--\r\n", boundary + b"--\r\n" + CANARY.encode() + b"\r\n"),
        (b"Subject: ", b"Comments: " + CANARY.encode() + b"\r\nSubject: "),
        (b"Subject: ", b"Subject: " + CANARY.encode() + b"\r\nSubject: "),
        (b"Reply-To: security", b"Reply-To: stranger"),
        (b"Reply-To: ", b"Reply-To: stranger@example.com, "),
        (plain, html),
        (plain, plain.replace(b"quoted-printable", b"7bit")),
        (plain, plain + b"\r\nX-Note: " + CANARY.encode()),
        (plain, plain.replace(b"utf-8", b"utf-8; x=" + CANARY.encode())),
        (TEXT, b"=54" + TEXT[1:]),
        (TEXT, TEXT[:10] + b"=\r\n" + TEXT[10:]),
        (TEXT, TEXT + b"=E2=80=A8" + CANARY.encode()),
        (TEXT, TEXT + b"=FF"),
        (TEXT, TEXT + b" =0D=0AX"),
        (b"application/pgp-keys", b"application/octet-stream"),
        (b"-----END PGP PUBLIC", CANARY.encode() + b"\r\n-----END PGP PUBLIC"),
        (b'hp="clear"', b'hp="cipher"'),
    ]
    codes = [await refused(team, await resigned(team, clear, *attack)) for attack in attacks]
    assert set(codes) == {"guard-altered", "guard-shape", "guard-text"}


async def test_no_header_stands_outside_that_is_not_ours(team: Team, clear: OutgoingMail) -> None:
    """A letter is no automatic mail either, and says nothing of its writer."""
    date = b"\r\nDate: "
    attacks = [
        (date, b"\r\nAuto-Submitted: auto-replied" + date, "guard-altered"),
        (date, b"\r\nX-Auto-Response-Suppress: All" + date, "guard-altered"),
        (date, b"\r\nBcc: stranger@example.com" + date, "guard-header"),
        (date, b"\r\nX-GitLab-User: alice" + date, "guard-header"),
        (b"Cc: security@", b"Cc: board@", "guard-altered"),
        (b'From: "Example Security"', b'From: "Alice"', "guard-altered"),
    ]
    found = []
    for old, new, _ in attacks:
        assert old in clear.content
        altered = replace(clear, content=clear.content.replace(old, new, 1))
        found.append((old, new, await refused(team, altered)))
    assert found == attacks


async def test_a_text_that_was_changed_after_it_was_signed_stays(
    team: Team, clear: OutgoingMail
) -> None:
    """The words are free, the signature over them is not; one octet in each region is enough."""
    size = len(clear.content)
    places = [clear.content.index(TEXT) + 3, *range(0, size, size // 40)]
    let_through = []
    for place in places:
        octet = bytes([clear.content[place] ^ 1])
        content = clear.content[:place] + octet + clear.content[place + 1 :]
        try:
            await team.house.guard.allow(replace(clear, content=content))
        except Refusal:
            continue
        let_through.append(place)
    assert let_through == []


async def test_an_encrypted_letter_shows_nothing_of_itself(
    team: Team, secret: OutgoingMail
) -> None:
    """Outside stands what stands on every encrypted mail of ours, and no word more."""
    case = await case_of(team, secret)
    attacks = [
        (b"Subject: [...]", f"Subject: Re: your report [{case.id}]".encode(), "guard-subject"),
        (b"-----BEGIN PGP MESSAGE-----\r\n", b"-----BEGIN PGP MESSAGE-----\r\nComment: x\r\n",
         "guard-armor"),
        (b"\r\nDate: ", b"\r\nAuto-Submitted: auto-replied\r\nDate: ", "guard-altered"),
    ]  # fmt: skip
    found = [
        (
            old,
            new,
            await refused(team, replace(secret, content=secret.content.replace(old, new, 1))),
        )
        for old, new, _ in attacks
    ]
    assert found == attacks
    assert case.id.encode() not in secret.content
    clear_one = await made(team, case, "Hello.", step=secret.step)
    assert await refused(team, clear_one) == "guard-clear-in-encrypted-thread"
    dressed = replace(clear_one, encrypted_to=secret.encrypted_to)
    assert await refused(team, dressed) == "guard-kind"
