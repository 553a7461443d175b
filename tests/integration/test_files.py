"""Who can read the files of a report?  The team, whatever the tracker shows to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.commands import secbridge
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring, fresh_ring
from tests.support.messages import a_case, a_delivery, a_message
from tests.support.reports import report_of
from tests.support.running import write_config
from tests.support.stores import StillClock, opened_case, routed

from secbridge.errors import PermanentFault
from secbridge.model.case import IssueRef
from secbridge.model.delivery import Filed, Judged, Opened, Routed
from secbridge.model.envelope import Envelope, Target
from secbridge.model.issue import CommentDraft, IssueDraft, Untrusted
from secbridge.model.message import Attachment, Message, Protection
from secbridge.openpgp import GnuPG
from secbridge.rules.drafting import draft_comment, draft_report, plain
from secbridge.store import Store
from secbridge.trackers.files import FilePolicy, plan_files, shown, whole_text
from secbridge.trackers.registry import TeamSealer

PROOF = b"\x00\x01 a proof of concept"
NOTES = "step one\nstep two\n"


def a_report() -> Message:
    """Return a mail with a text and a binary file."""
    text = Attachment("notes.txt", "text/plain", NOTES.encode(), False, False)
    binary = Attachment("poc.bin", "application/octet-stream", PROOF, False, False)
    return a_message(attachments=(text, binary))


def a_text_report() -> Message:
    """Return a mail whose only file is a short text."""
    return a_message(attachments=a_report().attachments[:1])


def issue(message: Message) -> IssueDraft:
    """Return the draft of a report."""
    return draft_report(a_case(), a_delivery(), message)


def comment(message: Message) -> CommentDraft:
    """Return the draft of a follow-up."""
    return draft_comment(a_case(), a_delivery(id="D2"), message)


def texts_of_files(draft: IssueDraft | CommentDraft) -> list[str]:
    """Return what a draft shows of files."""
    blocks = draft.report if isinstance(draft, IssueDraft) else draft.blocks
    return [block.text for block in blocks if isinstance(block, Untrusted) and block.file]


class Team:
    """Members with key rings of their own, and the ring of the house that knows their keys."""

    def __init__(self, house: Ring, openpgp: GnuPG, role_key: str) -> None:
        self.house = house
        self.openpgp = openpgp
        self.role_key = role_key
        self.rings: dict[str, Ring] = {}

    def join(self, ring: Ring, name: str) -> str:
        """Let somebody join with a key of their own, and return its fingerprint."""
        fingerprint = ring.make_key(f"{name} <{name}@example.org>")
        self.house.take(ring.export(fingerprint))
        self.rings[fingerprint] = ring
        return fingerprint

    def sealer(self, *members: str) -> TeamSealer:
        """Return what seals to these members and to the role key."""
        return TeamSealer(self.openpgp, (self.role_key,), members)


@pytest.fixture
async def team(role_ring: Ring, keys: Keys) -> AsyncIterator[Team]:
    """Return a team without members yet."""
    openpgp = GnuPG(role_ring.home, role_keys=(keys.role_fpr,))
    yield Team(role_ring, openpgp, keys.role_fpr)
    await openpgp.aclose()


# ── What the issue itself shows ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (FilePolicy.INLINE_TEXT, [NOTES]),
        (FilePolicy.UPLOAD, [NOTES]),
        (FilePolicy.SEALED, [NOTES]),
        (FilePolicy.WITHHOLD, []),
    ],
)
def test_only_withhold_keeps_texts_of_files_out_of_the_issue(
    policy: FilePolicy, expected: list[str]
) -> None:
    """A short text is shown where it came, in issues and in comments, unless files are withheld."""
    assert expected == texts_of_files(shown(issue(a_report()), policy))
    assert expected == texts_of_files(shown(comment(a_report()), policy))


def test_withhold_drops_nothing_else() -> None:
    """What the mail says itself, and which files there are, is told under every policy."""
    told = plain.issue_text(shown(issue(a_report()), FilePolicy.WITHHOLD))
    assert "Good morning." in told
    assert "SB-2026-0001-1.bin" in told
    assert "poc.bin" in told
    assert "step one" not in told


# ── Which files go to the tracker ────────────────────────────────────────────────────────────────


async def test_upload_hands_over_the_files_as_they_are() -> None:
    """Where files follow the rights of the issue; names are ours."""
    plan = await plan_files(issue(a_report()), FilePolicy.UPLOAD, None)
    assert [("SB-2026-0001-1.bin", NOTES.encode()), ("SB-2026-0001-2.bin", PROOF)] == [
        (file.name, file.content) for file in plan.files
    ]
    assert () == plan.notes


@pytest.mark.parametrize("policy", [FilePolicy.WITHHOLD, FilePolicy.INLINE_TEXT])
async def test_what_is_withheld_is_named_with_the_command(policy: FilePolicy) -> None:
    """The binary goes nowhere, and the issue says how an operator gets it."""
    plan = await plan_files(issue(a_report()), policy, None)
    assert () == plan.files
    (note,) = plan.notes
    assert note.text.endswith("secbridge delivery files D1 FOLDER")


async def test_inline_text_says_nothing_where_all_is_shown() -> None:
    """A mail whose only file is a text that stands in the issue lacks nothing."""
    plan = await plan_files(issue(a_text_report()), FilePolicy.INLINE_TEXT, None)
    assert ((), ()) == (plan.files, plan.notes)


async def test_inline_text_tells_of_a_text_that_is_shown_in_part() -> None:
    """The beginning of a long text is not the text."""
    long = Attachment("log.txt", "text/plain", b"line\n" * 50_000, False, False)
    plan = await plan_files(issue(a_message(attachments=(long,))), FilePolicy.INLINE_TEXT, None)
    assert 1 == len(plan.notes)


@pytest.mark.parametrize("policy", list(FilePolicy))
async def test_a_mail_without_files_needs_no_word(policy: FilePolicy) -> None:
    """Nothing is planned, and nothing said."""
    plan = await plan_files(issue(a_message()), policy, None)
    assert ((), ()) == (plan.files, plan.notes)


async def test_sealed_files_open_for_each_member_and_for_the_role_key(team: Team) -> None:
    """Ciphertext under neutral names; every reader opens it with the key of their own alone."""
    with fresh_ring() as anna, fresh_ring() as ben:
        members = [team.join(anna, "anna"), team.join(ben, "ben")]
        plan = await plan_files(issue(a_report()), FilePolicy.SEALED, team.sealer(*members))
        assert ["SB-2026-0001-1.bin.pgp", "SB-2026-0001-2.bin.pgp"] == [
            file.name for file in plan.files
        ]
        sealed = plan.files[1].content
        assert PROOF not in sealed
        for ring in (anna, ben, team.house):
            assert PROOF == ring.decrypt(sealed)
        assert ["gpg --decrypt" in note.text for note in plan.notes] == [True]


async def test_a_stranger_cannot_open_what_is_sealed(team: Team, keys: Keys) -> None:
    """Nobody but the team: not the reporter, not whoever finds the address of the upload."""
    with fresh_ring() as anna, copied_ring(keys.reporter) as stranger:
        member = team.join(anna, "anna")
        plan = await plan_files(issue(a_report()), FilePolicy.SEALED, team.sealer(member))
        assert b"" == stranger.decrypt(plan.files[1].content)


async def test_a_member_whose_key_cannot_be_used_is_left_out_and_told(team: Team) -> None:
    """The others get the files; that somebody does not is said, without a name."""
    with fresh_ring() as anna, fresh_ring() as ben:
        good, bad = team.join(anna, "anna"), team.join(ben, "ben")
        team.house.take(ben.revoke(bad))
        sealer = team.sealer(good, bad, "0" * 40)
        assert (good,) == await sealer.readers()
        plan = await plan_files(issue(a_report()), FilePolicy.SEALED, sealer)
        assert PROOF == anna.decrypt(plan.files[1].content)
        assert b"" == ben.decrypt(plan.files[1].content)
        assert "2 members have no usable key" in plan.notes[1].text


@pytest.mark.parametrize("members", [(), ("0" * 40,)])
async def test_without_a_member_who_can_read_files_are_withheld(
    team: Team, members: tuple[str, ...]
) -> None:
    """Sealed to the role key alone they would be of use to nobody who reads the issue."""
    plan = await plan_files(issue(a_report()), FilePolicy.SEALED, team.sealer(*members))
    assert () == plan.files
    (note,) = plan.notes
    assert "no member of the team has a key" in note.text
    assert note.text.endswith("secbridge delivery files D1 FOLDER")
    assert plan == await plan_files(issue(a_report()), FilePolicy.SEALED, None)


async def test_a_role_key_that_cannot_be_used_is_a_fault_of_ours(team: Team) -> None:
    """Nothing leaves half sealed: the delivery waits, with the setting and the mend."""
    with fresh_ring() as anna:
        sealer = TeamSealer(team.openpgp, ("0" * 40,), (team.join(anna, "anna"),))
        with pytest.raises(PermanentFault) as told:
            await plan_files(issue(a_report()), FilePolicy.SEALED, sealer)
    assert "role_keys" == told.value.setting


# ── What is too long for the tracker ─────────────────────────────────────────────────────────────


async def test_a_text_that_does_not_fit_is_one_file_more(team: Team) -> None:
    """All of it, uploaded or sealed as the other files are, in issues and in comments."""
    with fresh_ring() as anna:
        sealer = team.sealer(team.join(anna, "anna"))
        for draft, name in (
            (issue(a_report()), "SB-2026-0001.txt"),
            (comment(a_report()), "SB-2026-0001-D2.txt"),
        ):
            whole = whole_text(draft)
            plan = await plan_files(draft, FilePolicy.UPLOAD, None, whole=whole)
            assert (name, whole.encode()) == (plan.files[-1].name, plan.files[-1].content)
            plan = await plan_files(draft, FilePolicy.SEALED, sealer, whole=whole)
            assert f"{name}.pgp" == plan.files[-1].name
            assert whole.encode() == anna.decrypt(plan.files[-1].content)


def test_the_whole_text_holds_every_word_and_no_mail_poses_as_us() -> None:
    """Nothing is cut, and a stranger's line never looks like one of ours."""
    draft = issue(a_message(text="Delivery  D9\n" + "x" * 200_000))
    text = whole_text(draft)
    assert "x" * 200_000 in text
    assert "\n| Delivery  D9\n" in text


async def test_a_text_that_does_not_fit_needs_no_note_where_files_are_withheld() -> None:
    """The cut itself names the command for the raw mail."""
    draft = issue(a_message())
    plan = await plan_files(draft, FilePolicy.WITHHOLD, None, whole=whole_text(draft))
    assert ((), ()) == (plan.files, plan.notes)


# ── The command that is named ────────────────────────────────────────────────────────────────────


def test_the_command_gives_the_files_under_the_names_of_the_issue(
    tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """An encrypted report is opened, and each file lies there for its owner alone."""
    config = write_config(tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=1)
    raw = report_of(keys, attach=PROOF)
    case, delivery = asyncio.run(_filed(tmp_path / "state" / "secbridge.sqlite", raw))
    folder = tmp_path / "files"
    done = secbridge("delivery", "files", delivery, folder, "--json", config=config)
    assert (0, "") == (done.status, done.err)
    assert PROOF == (folder / f"{case}-1.bin").read_bytes()
    assert [0o600] == sorted({path.stat().st_mode & 0o777 for path in folder.iterdir()})
    assert sorted(row["path"] for row in done.rows) == sorted(map(str, folder.iterdir()))
    again = secbridge("delivery", "files", delivery, folder, config=config)
    assert 2 == again.status
    assert "is there already" in again.err


async def _filed(database: Path, raw: bytes) -> tuple[str, str]:
    """Let a store take a report and file it, and return its case and its delivery."""
    store = await Store.open(database, clock=StillClock())
    envelope = Envelope(REPORTER, (ROLE,), "127.0.0.1", StillClock().now())
    (delivery,) = await store.accept(envelope, raw, [Target(ROLE, ROLE)])
    other = await routed(store, "2")
    assert other.verdict is not None
    assert other.route is not None
    moves = (Opened(Protection.ENCRYPTED_SIGNED), Judged(other.verdict), Routed(other.route))
    await store.record(delivery, *moves)
    case = await opened_case(store, delivery, other.route, reporter=REPORTER, must_encrypt=True)
    await store.record(delivery, Filed(case.id, IssueRef("local", "security", "1", "1")))
    await store.aclose()
    return case.id, delivery
