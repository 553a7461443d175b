"""An acknowledgement that cannot leave waits: until when, what ends it, and who is told?

The whole way with the real gpg, store, tracker, guard and relay (``tests.support.office``).
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import mails
from tests.support.answering import parsed, part_of
from tests.support.bench_gitlab import GitLabBench
from tests.support.fake_gitlab import FakeGitLab
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.messages import an_alias
from tests.support.office import HELD, Office, an_office, letter, outer

from secbridge.model.delivery import OutgoingState, Retried, State
from secbridge.model.message import CertificateSource, FoundCertificate
from secbridge.pipeline.keychanges import Accepted
from secbridge.ports import KeyChange
from secbridge.store import Store
from secbridge.trackers.gitlab_desk import GitLabDesk

CANARY = "Zinnobergimpel"
A_DAY = timedelta(days=1)


@pytest.fixture
async def office(keys: Keys, role_ring: Ring, tmp_path: Path) -> AsyncIterator[Office]:
    """Return an office that knows no reporter."""
    async with an_office(keys, role_ring, tmp_path) as rooms:
        yield rooms


def kinds(office: Office, keys: Keys) -> list[str]:
    """Return what the reporter heard, in order: subjects of notices, or that he can open it."""
    heard = []
    for taken in office.sent():
        mail = outer(taken.content)
        if mail.get_content_type() == "multipart/encrypted":
            inside = keys.reporter.decrypt(part_of(parsed(taken.content), 1))
            mail = outer(inside)
        heard.append(str(mail["Subject"]).partition(" (")[0])
    return heard


SEND_KEY = "Please send us your public key"
USE_THIS = "We could not open your encrypted message"
RECEIVED = "We have received your message"
PLEASE_ENCRYPT = "Please encrypt what you write to us"


# ── Outdated before it left ──────────────────────────────────────────────────────────────────────


async def test_an_answer_in_the_outbox_is_built_anew_for_the_key_that_the_team_accepted(
    office: Office, keys: Keys
) -> None:
    """The relay was away meanwhile: nothing goes to the old key, and one answer to the new one."""
    raw = letter(keys, CANARY, attach=[keys.reporter_cert])
    with fresh_ring() as ring:
        new = ring.make_key(f"Rita <{REPORTER}>")
        delivery = await office.accept(raw)
        await office.worker.work_once()
        await office.worker.finish()
        case = await office.case(delivery)
        await office.house.openpgp.import_certificate(ring.export(new), address=REPORTER)
        now = office.house.clock.now()
        change = KeyChange(case.id, REPORTER, new, CertificateSource.INSIDE, now)
        await office.store.propose_key(change)
        assert isinstance(await office.changes.accept(case.id, new, by="alice"), Accepted)
        assert [] == office.sent()
        await office.work()
        (answer,) = office.sent()
        assert b"arrived" in ring.decrypt(part_of(parsed(answer.content), 1))
    rows = await office.store.find_outgoing(delivery)
    outdated, sent = OutgoingState.OUTDATED, OutgoingState.SENT
    assert [outdated, outdated, sent, sent] == [row.state for row in rows]
    assert ["ack", "ack", "ack-2", "ack-2"] == [row.mail.step for row in rows]
    assert State.DONE is (await office.delivery(delivery)).state
    assert frozenset({"ack-2"}) == await office.store.answers_of(case.id)


async def test_a_clear_answer_whose_thread_became_encrypted_is_built_anew(
    office: Office, keys: Keys
) -> None:
    """The reporter encrypted the second mail before the answer to the first had left."""
    delivery = await office.accept(mails.header("") + mails.text("It crashes: exploit."))
    await office.worker.work_once()
    await office.worker.finish()
    case = await office.case(delivery)
    await office.store.require_encryption(case.id)
    await office.work()
    assert [SEND_KEY] == kinds(office, keys)
    assert State.HELD is (await office.delivery(delivery)).state
    assert frozenset({"notice-send-key"}) == await office.store.answers_of(case.id)


# ── By itself ────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_came_into_the_ring_is_found_at_the_next_look(
    office: Office, keys: Keys
) -> None:
    """Every six hours, and not before; the issue is told in a line where the answer went."""
    first = await office.receive(letter(keys, CANARY))
    held = await office.delivery(first)
    assert held.wait_until == office.house.clock.now() + HELD
    office.house.ring.take(keys.reporter_cert)
    await office.pass_time(HELD - timedelta(minutes=1))
    assert kinds(office, keys) == [SEND_KEY]
    await office.pass_time(timedelta(minutes=1))
    assert kinds(office, keys) == [SEND_KEY, RECEIVED]
    assert (await office.delivery(first)).state is State.DONE
    _, released = await office.comments(first)
    assert keys.reporter_fpr in released
    assert "from our own key ring" in released
    assert CANARY not in released


async def test_a_key_directory_is_asked_again_at_each_look(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """The reporter publishes his key a day later, and writes nothing more."""

    class Directory:
        published = False

        async def find(
            self, source: CertificateSource, address: str, *, fingerprints: Sequence[str] = ()
        ) -> Sequence[FoundCertificate]:
            del fingerprints
            wanted = self.published and source is CertificateSource.WKD and address == REPORTER
            return [FoundCertificate(source, keys.reporter_cert)] if wanted else []

    directory = Directory()
    async with an_office(keys, role_ring, tmp_path, finder=directory) as office:
        first = await office.receive(letter(keys, CANARY))
        await office.pass_time(A_DAY)
        assert kinds(office, keys) == [SEND_KEY]
        directory.published = True
        await office.pass_time(A_DAY)
        assert kinds(office, keys) == [SEND_KEY, RECEIVED]
        bound = (await office.case(first)).key
        assert bound is not None
        assert bound.source is CertificateSource.WKD


@pytest.mark.parametrize("by", ["case", "address"])
async def test_whoever_brings_a_key_wakes_what_waits_for_it(
    office: Office, keys: Keys, by: str
) -> None:
    """An operator's import says for which case or address; others go on waiting."""
    first = await office.receive(letter(keys, CANARY))
    elsewhere = letter(keys, CANARY, author="somebody@example.com", name="two")
    second = await office.receive(elsewhere, sender="somebody@example.com")
    office.house.ring.take(keys.reporter_cert)
    case = (await office.case(first)).id
    woken = await (
        office.store.wake_held(case_id=case)
        if by == "case"
        else office.store.wake_held(address="Reporter@Example.net")
    )
    await office.work()
    states = [(await office.delivery(each)).state for each in (first, second)]
    assert (woken, states) == (1, [State.DONE, State.HELD])


async def test_an_operator_may_ask_for_another_look(office: Office, keys: Keys) -> None:
    """``delivery retry`` does not wait for the time; without a key nothing is said again."""
    first = await office.receive(letter(keys, CANARY))
    again = await office.store.record(first, Retried("alice"))
    assert again.state is State.FILED
    await office.work()
    assert (await office.delivery(first)).state is State.HELD
    assert len(await office.comments(first)) == 1
    assert kinds(office, keys) == [SEND_KEY]


async def test_a_notice_on_its_way_does_not_finish_what_is_held(office: Office, keys: Keys) -> None:
    """Neither while the relay puts it off nor when it took it; and a key does not wait for it."""
    office.relay.on["RCPT"] = "450 4.2.1 later"
    first = await office.receive(letter(keys, CANARY))
    assert (await office.delivery(first)).state is State.HELD
    del office.relay.on["RCPT"]
    await office.pass_time(timedelta(minutes=6))
    rows = await office.store.find_outgoing(first)
    assert {row.state for row in rows} == {OutgoingState.SENT}
    held = await office.delivery(first)
    assert (held.state, held.why) == (State.HELD, "no-key")
    assert held.wait_until is not None
    assert held.wait_until > office.house.clock.now()


async def test_a_wait_that_a_notice_of_it_outlives_is_woken_all_the_same(
    office: Office, keys: Keys
) -> None:
    """The outbox closes the notice's row after the wake-up, and takes nothing of it back."""
    office.relay.on["RCPT"] = "450 4.2.1 later"
    first = await office.receive(letter(keys, CANARY))
    del office.relay.on["RCPT"]
    office.house.ring.take(keys.reporter_cert)
    office.house.clock.time += timedelta(minutes=6)
    await office.store.wake_held(case_id=(await office.case(first)).id)
    await office.sender.work_once()
    await office.sender.finish()
    await office.work()
    assert kinds(office, keys) == [SEND_KEY, RECEIVED]
    assert (await office.delivery(first)).state is State.DONE


async def test_raw_mail_of_a_held_answer_is_not_purged(office: Office, keys: Keys) -> None:
    """However old: it is opened again when the key comes."""
    first = await office.receive(letter(keys, CANARY))
    await office.pass_time(timedelta(days=400))
    assert await office.store.purge(office.house.clock.now()) == 0
    office.house.ring.take(keys.reporter_cert)
    await office.pass_time(HELD)
    assert (await office.delivery(first)).state is State.DONE
    await office.pass_time(A_DAY)
    assert await office.store.purge(office.house.clock.now()) > 0


# ── What nobody could open ───────────────────────────────────────────────────────────────────────


async def test_after_a_mail_that_nobody_could_open_a_readable_one_is_acknowledged(
    office: Office, keys: Keys
) -> None:
    """The notice at once; the acknowledgement when a mail of the reporter can be read, once."""
    lost = letter(keys, CANARY, sign=(keys.stranger, keys.stranger_fpr), to=keys.stranger_fpr)
    first = await office.receive(lost)
    assert (await office.delivery(first)).state is State.DONE
    assert kinds(office, keys) == [USE_THIS]
    assert "asked to send it again" in await office.report(first)
    token = (await office.case(first)).token
    again = letter(
        keys, CANARY, name="two", sign=(keys.stranger, keys.stranger_fpr), to=keys.stranger_fpr
    )
    repeated = await office.receive(again, token=token)
    assert (await office.delivery(repeated)).why == "answered-already"
    readable = letter(keys, CANARY, name="three", attach=[keys.reporter_cert])
    await office.receive(readable, token=token)
    await office.receive(letter(keys, "More", name="four"), token=token)
    assert kinds(office, keys) == [USE_THIS, RECEIVED]
    assert "goes out now" in (await office.comments(first))[-2]


async def test_the_readable_mail_waits_where_it_brings_no_key(office: Office, keys: Keys) -> None:
    """Then it is the follow-up whose answer is held, and the next key ends its wait."""
    lost = letter(keys, CANARY, sign=(keys.stranger, keys.stranger_fpr), to=keys.stranger_fpr)
    first = await office.receive(lost)
    token = (await office.case(first)).token
    second = await office.receive(letter(keys, CANARY, name="two"), token=token)
    assert (await office.delivery(second)).state is State.HELD
    assert kinds(office, keys) == [USE_THIS, SEND_KEY]
    mail = letter(keys, CANARY, name="three", attach=[keys.reporter_cert])
    await office.receive(mail, token=token)
    assert kinds(office, keys) == [USE_THIS, SEND_KEY, RECEIVED]
    assert {each.state for each in await office.store.find()} == {State.DONE}


# ── No machine may answer ────────────────────────────────────────────────────────────────────────


async def test_what_came_through_a_list_is_not_answered_and_the_issue_says_why(
    office: Office, keys: Keys
) -> None:
    """Nothing waits, and nothing was sent; a direct mail of the reporter is acknowledged then."""
    first = await office.receive(letter(keys, CANARY, extra="List-Id: <sec.example.net>\n"))
    held = await office.delivery(first)
    assert (held.state, held.why) == (State.DONE, "list")
    assert office.relay.taken == []
    assert "Nobody was answered by machine. It came through a mailing list." in (
        await office.report(first)
    )
    mail = letter(keys, CANARY, name="two", attach=[keys.reporter_cert])
    await office.receive(mail, token=(await office.case(first)).token)
    assert kinds(office, keys) == [RECEIVED]


async def test_a_clear_mail_in_a_held_thread_is_answered_by_fixed_notices_alone(
    office: Office, keys: Keys
) -> None:
    """The rule of the thread holds for every mail in it; its reporter is asked to encrypt."""
    first = await office.receive(letter(keys, CANARY))
    token = (await office.case(first)).token
    await office.receive(mails.mail(mails.text(f"{CANARY}\n"), subject="Hi"), token=token)
    assert kinds(office, keys) == [SEND_KEY, PLEASE_ENCRYPT]
    rows = await office.store.mails_of_case((await office.case(first)).id)
    assert all(row.mail.kind.is_fixed_notice for row in rows)
    assert all(CANARY.encode() not in row.mail.content for row in rows)


# ── The power goes ───────────────────────────────────────────────────────────────────────────────


class PowerCut(BaseException):
    """Nothing of ours catches it: what was under way is gone."""


class Fate:
    """Counts the points and cuts the power at the chosen one, once."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.die = ""

    def reach(self, point: str) -> None:
        """Write the point down; go dark if it is the one."""
        number = sum(each.rpartition(" #")[0] == point for each in self.reached) + 1
        self.reached.append(f"{point} #{number}")
        if self.reached[-1] == self.die:
            self.die = ""
            raise PowerCut


LASTING: list[tuple[type, str]] = [
    (Store, "record"),
    (Store, "bind_key"),
    (Store, "propose_key"),
    (Store, "require_encryption"),
    (Store, "outgoing_sent"),
    (GitLabDesk, "create_comment"),
]
"""After each of these something is on the disk or out of the house."""


@contextmanager
def fate() -> Iterator[Fate]:
    """Put a point before and after everything that lasts."""
    told = Fate()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in LASTING:
            patch.setattr(owner, name, _mortal(getattr(owner, name), told))
        yield told


def _mortal(method: Callable[..., Awaitable[Any]], told: Fate) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def mortal(self: Any, *args: Any, **kwargs: Any) -> Any:
        named = args[1:] if method.__name__ == "record" else ()
        what = " ".join([method.__name__, *(type(move).__name__ for move in named)])
        told.reach(f"before {what}")
        result = await method(self, *args, **kwargs)
        told.reach(f"after {what}")
        return result

    return mortal


@pytest.fixture(scope="module")
def gitlab() -> Iterator[FakeGitLab]:
    """Return a fake GitLab, which makes a second comment where it is asked twice."""
    with FakeGitLab.start() as made:
        yield made


async def test_a_power_cut_at_any_point_repeats_and_loses_nothing(
    keys: Keys, role_ring: Ring, tmp_path: Path, gitlab: FakeGitLab
) -> None:
    """Held without a key, asked about another one, released: told once each, whenever it went dark.

    A mail may leave twice, under one Message-ID; a comment is never there twice.
    """
    bench = GitLabBench(gitlab)
    alias = an_alias(tracker="t", project=bench.project)
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        writer = Writer(keys, ring, ring.make_key("Rita <rita@example.net>"))
        async with an_office(
            keys, role_ring, tmp_path, alias=alias, tracker=bench.tracker
        ) as office:
            complaints = []
            points = await _play(office, bench, writer, "")
            assert len(points) > 20, points
            for point in [points[0], *(one for one in points if one.startswith("after"))]:
                complaints += [f"{point}: {it}" for it in await _play(office, bench, writer, point)]
    await bench.tracker.aclose()
    assert complaints == []


class Writer:
    """A reporter with one key and a new address for each story."""

    def __init__(self, keys: Keys, ring: Ring, fingerprint: str) -> None:
        self.keys = keys
        self.ring = ring
        self.fingerprint = fingerprint
        self.stories = 0

    def new_address(self) -> str:
        """Add a user ID to the key and return its address."""
        self.stories += 1
        address = f"rita{self.stories}@example.net"
        self.ring.gpg("--quick-add-uid", self.fingerprint, f"Rita <{address}>")
        return address


async def _play(office: Office, bench: GitLabBench, writer: Writer, die: str) -> list[str]:
    """Tell the story with a power cut; return the points, or what is not as it has to be."""
    address, story = writer.new_address(), writer.stories
    with fate() as told:
        told.die = die
        mail = letter(writer.keys, CANARY, author=address, name=f"{story}-a")
        first = await office.receive(mail, sender=address)
        await _restart_until(office, first, State.HELD)
        token = (await office.case(first)).token
        mail = letter(
            writer.keys, CANARY, author=address, name=f"{story}-b",
            attach=[writer.ring.export(writer.fingerprint)],
        )  # fmt: skip
        second = await office.receive(mail, sender=address, token=token)
        for delivery in (first, second):
            await _restart_until(office, delivery, State.DONE)
    if not die:
        return told.reached
    return [*_heard(office, address), *await _read(office, bench, first, told.die)]


async def _restart_until(office: Office, delivery: str, state: State) -> None:
    for _ in range(6):
        if (await office.delivery(delivery)).state is state:
            break
        await office.pass_time(timedelta(minutes=20))  # the lease of who went dark is over
    rows = await office.store.find_outgoing(delivery)
    if any(row.state is OutgoingState.QUEUED for row in rows):
        await office.pass_time(timedelta(minutes=20))


def _heard(office: Office, address: str) -> list[str]:
    ids = [str(outer(taken.content)["Message-ID"]) for taken in office.sent(address)]
    said = [] if len(set(ids)) == 2 else [f"{len(set(ids))} different mails"]
    return said if len(ids) <= 3 else [*said, f"{len(ids)} copies"]


async def _read(office: Office, bench: GitLabBench, first: str, left: str) -> list[str]:
    issue = (await office.case(first)).issue
    assert issue is not None
    notes = [str(note["body"]) for note in bench.gitlab.notes(issue.number)]
    counted = {
        "held": sum("it is held" in note for note in notes),
        "goes out": sum("goes out now" in note for note in notes),
        "the mail": sum(CANARY in note for note in notes),
    }
    said = [f"{name}: {count} comments" for name, count in counted.items() if count != 1]
    return [*said, f"{left} was not reached"] if left else said
