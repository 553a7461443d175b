"""Does the embedded tracker keep a secret?  At rest all is sealed; opened, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.keys import Keys, Ring
from tests.support.messages import a_message
from tests.support.trackers import (
    CANARY,
    HeldClock,
    LocalBench,
    a_report,
    comment_draft,
    new_key,
    report_draft,
)

from secbridge.errors import Deferral, PermanentFault
from secbridge.model.case import IssueRef
from secbridge.model.issue import (
    CommentWritten,
    DraftAttachment,
    IssueChange,
    IssueChanged,
    Severity,
)
from secbridge.openpgp import GnuPG
from secbridge.ports import EffectKey
from secbridge.store import Store
from secbridge.trackers.local import (
    EVENTS_AT_ONCE,
    LocalTracker,
    open_attachment,
    open_issue,
    write_comment,
)
from secbridge.trackers.registry import Sealer


@pytest.fixture
async def local(tmp_path: Path, role_ring: Ring, keys: Keys) -> AsyncIterator[LocalBench]:
    """Return the embedded tracker over a new store."""
    store = await Store.open(tmp_path / "store.db", clock=HeldClock())
    openpgp = GnuPG(role_ring.home)
    yield LocalBench(store, openpgp, keys.role_fpr)
    await openpgp.aclose()
    await store.aclose()


def on_disk(folder: Path) -> bytes:
    """Return every octet of every file of the store."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_nothing_of_a_report_is_on_the_disk(local: LocalBench, tmp_path: Path) -> None:
    """Text, file names, files, sender and comments are sealed before the commit."""
    ref = await local.tracker.ensure_issue(new_key(), report_draft(local, a_report()))
    await local.tracker.ensure_comment(ref, new_key(), comment_draft(local, a_report()))
    await write_comment(
        local.rows, local.sealer, 1, author="alex", text=f"see {CANARY}", clock=local.clock
    )
    kept = on_disk(tmp_path)
    assert b"Security report SB-2026-0001" in kept
    assert CANARY.encode() not in kept
    assert b"reporter@example.net" not in kept


async def test_an_issue_opens_with_its_comments_and_files(local: LocalBench) -> None:
    """``secbridge issue show`` gets all of it back, in order."""
    draft = report_draft(local, a_report())
    ref = await local.tracker.ensure_issue(new_key(), draft)
    await local.tracker.ensure_comment(ref, new_key(), comment_draft(local))
    await write_comment(
        local.rows, local.sealer, 1, author="alex", text="On it.", clock=local.clock
    )
    opened = await open_issue(local.rows, local.sealer, 1)
    assert opened is not None
    assert CANARY in opened.text
    assert [one.comment.author for one in opened.comments] == ["secbridge", "alex"]
    assert opened.comments[1].text == "On it."
    assert [one.name for one in opened.attachments] == [
        "SB-2026-0001-1.bin",
        "SB-2026-0001-D2-1.bin",
    ]
    content = await open_attachment(local.sealer, opened.attachments[0])
    assert content.content == CANARY.encode()
    assert opened.attachments[0].size == len(CANARY)
    assert CANARY not in repr(opened) + repr(opened.comments)


async def test_an_issue_that_is_not_there_is_none(local: LocalBench) -> None:
    """A wrong number is no fault."""
    assert await open_issue(local.rows, local.sealer, 99) is None


async def test_files_of_two_mails_at_once_are_all_kept(local: LocalBench) -> None:
    """The store replaces an issue's files as a whole; two follow-ups at a time lose none."""
    ref = await local.tracker.ensure_issue(new_key(), report_draft(local, a_report()))
    files = [DraftAttachment(f"file-{n}.bin", "text/plain", bytes([n])) for n in range(5)]
    drafts = [comment_draft(local, a_message(), attachments=(file,)) for file in files]
    await asyncio.gather(*(local.tracker.ensure_comment(ref, new_key(), draft) for draft in drafts))
    kept = {file.name for file in await local.rows.attachments(1)}
    assert kept == {"SB-2026-0001-1.bin", *(file.name for file in files)}


async def test_a_comment_asked_for_twice_keeps_its_files_once(local: LocalBench) -> None:
    """After a crash between files and comment the files are not doubled."""
    ref = await local.tracker.ensure_issue(new_key(), report_draft(local, a_message()))
    draft = comment_draft(local, a_report())
    await local.tracker.ensure_comment(ref, new_key(), draft)
    await local.tracker.ensure_comment(ref, new_key(), draft)
    assert len(await local.rows.attachments(1)) == 1


async def test_without_a_usable_role_key_nothing_is_told(local: LocalBench, keys: Keys) -> None:
    """When it cannot be sealed it is not stored: there is no issue yet, and the delivery waits."""
    sealed_to_nobody = Sealer(local.sealer.openpgp, ("0" * 40,))
    broken = LocalBench(local.rows, sealed_to_nobody.openpgp, "0" * 40)
    key, draft = new_key(), report_draft(local, a_message(text=CANARY))
    with pytest.raises(Deferral) as told:
        await broken.tracker.ensure_issue(key, draft)
    assert told.value.alarm
    assert () == tuple(await local.issues())
    await local.tracker.ensure_issue(EffectKey(key.marker, local.clock.now()), draft)
    (issue,) = await local.issues()
    assert CANARY in issue.text


# ── What people do here ──────────────────────────────────────────────────────────────────────────


async def commented(local: LocalBench, text: str, author: str = "alex") -> None:
    """Let a person comment on issue 1."""
    await write_comment(local.rows, local.sealer, 1, author=author, text=text, clock=local.clock)


async def test_a_cursor_begins_with_now(local: LocalBench) -> None:
    """What was there before anybody listened is no event."""
    await local.tracker.ensure_issue(new_key(), report_draft(local))
    await commented(local, "sb: help")
    events, cursor = await local.tracker.events(None)
    assert () == tuple(events)
    assert (0, cursor) == (len((await local.tracker.events(cursor))[0]), cursor)


async def test_what_people_write_and_change_is_heard_once(local: LocalBench) -> None:
    """Comments with their text as it was written, changes with what the issue is now."""
    ref = await local.tracker.ensure_issue(new_key(), report_draft(local))
    _, cursor = await local.tracker.events(None)
    await commented(local, "sb: help\nplease")
    await local.rows.change_issue(1, IssueChange(open=False), local.clock.now(), by="kim")
    (written, changed), later = await local.tracker.events(cursor)
    assert isinstance(written, CommentWritten)
    assert ("sb: help\nplease", "alex", False) == (
        written.text,
        written.author.name,
        written.author.is_us,
    )
    assert isinstance(changed, IssueChanged)
    assert (ref, ref, False) == (written.issue, changed.issue, changed.state.open)
    assert await local.tracker.may_command(written.author)
    assert [] == (await local.tracker.events(later))[0]
    again, _ = await local.tracker.events(cursor)
    assert [written.key, changed.key] == [event.key for event in again]


async def test_what_secbridge_does_is_no_event(local: LocalBench) -> None:
    """Comments that came by mail, and changes by the daemon, are its own."""
    ref = await local.tracker.ensure_issue(new_key(), report_draft(local))
    _, cursor = await local.tracker.events(None)
    await local.tracker.ensure_comment(ref, new_key(), comment_draft(local))
    await local.tracker.update(ref, IssueChange(add_labels=("confirmed",)))
    assert [] == (await local.tracker.events(cursor))[0]


async def test_an_operator_under_the_daemons_account_is_a_person(local: LocalBench) -> None:
    """Otherwise the commands of whoever uses su would be taken for the daemon's own words."""
    await local.tracker.ensure_issue(new_key(), report_draft(local))
    _, cursor = await local.tracker.events(None)
    await commented(local, "sb: help", author="secbridge")
    ((written,), _) = await local.tracker.events(cursor)
    assert isinstance(written, CommentWritten)
    assert ("operator", False) == (written.author.name, written.author.is_us)


async def test_other_projects_are_not_heard(local: LocalBench) -> None:
    """Each alias hears its own issues."""
    await local.tracker.ensure_issue(new_key(), report_draft(local))
    other = LocalTracker(replace(local.desk, project="other"))
    _, cursor = await other.events(None)
    await commented(local, "sb: help")
    events, later = await other.events(cursor)
    assert [] == events
    assert int(later) > int(cursor)


async def test_more_than_a_page_comes_with_the_next_calls(local: LocalBench) -> None:
    """None is left out, and none comes twice."""
    await local.tracker.ensure_issue(new_key(), report_draft(local))
    _, cursor = await local.tracker.events(None)
    for number in range(EVENTS_AT_ONCE + 5):
        change = IssueChange(add_labels=(f"l{number}",))
        await local.rows.change_issue(1, change, local.clock.now(), by="kim")
    first, cursor = await local.tracker.events(cursor)
    second, cursor = await local.tracker.events(cursor)
    assert (EVENTS_AT_ONCE, 5) == (len(first), len(second))
    assert EVENTS_AT_ONCE + 5 == len({event.key for event in (*first, *second)})


async def test_check_of_a_broken_role_key_is_an_error(local: LocalBench) -> None:
    """A role key that cannot seal is found before a report needs it."""
    broken = LocalBench(local.rows, local.sealer.openpgp, "0" * 40)
    (finding,) = await broken.tracker.check()
    assert finding.severity is Severity.ERROR
    assert finding.mend
    assert not finding.passing


async def test_check_of_a_key_ring_that_is_away_passes_by_itself(
    local: LocalBench, role_ring: Ring, keys: Keys
) -> None:
    """A fault of ours with the agent says nothing of the tracker, so it refuses no report."""
    role_ring.forget(keys.role_fpr, secret_only=True)
    (finding,) = await local.tracker.check()
    assert (Severity.ERROR, True) == (finding.severity, finding.passing)


async def test_a_label_that_was_taken_away_comes_back_before_the_report(
    local: LocalBench,
) -> None:
    """The proof asks for the label here, too."""
    key, draft = new_key(), report_draft(local, a_message(text=CANARY))
    await local.desk.create_issue(key, draft)
    await local.rows.change_issue(1, IssueChange(remove_labels=("Security",)), local.clock.now())
    await local.tracker.ensure_issue(EffectKey(key.marker, local.clock.now()), draft)
    (issue,) = await local.issues()
    assert issue.labels == ("Security",)
    assert CANARY in issue.text


async def test_an_update_of_an_issue_that_is_gone_names_the_mend(local: LocalBench) -> None:
    """A store that is not the one of the case is found out."""
    gone = IssueRef("local", "security", id="99", number="99")
    with pytest.raises(PermanentFault):
        await local.tracker.update(gone, IssueChange(open=False))
    with pytest.raises(PermanentFault) as told:
        await local.tracker.ensure_comment(gone, new_key(), comment_draft(local))
    assert told.value.mend
