"""issue: a team without a tracker lists, reads, comments, labels, closes and reopens by command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from markdown_it import MarkdownIt
from tests.support.commands import Done, secbridge
from tests.support.keys import Keys, Ring
from tests.support.reports import CANARY
from tests.support.running import write_config
from tests.support.stores import StillClock

from secbridge.model.issue import DraftAttachment, IssueDraft, Paragraph, Untrusted
from secbridge.model.plaintext import Secret
from secbridge.openpgp import GnuPG
from secbridge.ports import EffectKey
from secbridge.store import Store
from secbridge.trackers import registry

ROOT = Path(__file__).resolve().parents[2]


class Office:
    """An installation whose embedded tracker holds issues, without a daemon."""

    def __init__(self, folder: Path, ring: Ring, role_key: str) -> None:
        self.config = write_config(folder, role_home=ring.home, role_key=role_key, relay_port=1)
        self.database = folder / "state" / "secbridge.sqlite"
        self._ring, self._role_key = ring, role_key

    def file(self, *drafts: IssueDraft) -> None:
        """File issues as the worker does: proven confidential first, then told."""
        asyncio.run(self._file(drafts))

    async def _file(self, drafts: Sequence[IssueDraft]) -> None:
        store = await Store.open(self.database, clock=StillClock())
        openpgp = GnuPG(self._ring.home, role_keys=(self._role_key,))
        plugin = registry.plugin("local")
        context = registry.TrackerContext(
            name="local",
            secret=Secret,
            local_issues=store,
            sealer=registry.Sealer(openpgp, (self._role_key,)),
            clock=StillClock(),
        )
        tracker = plugin.create(context, plugin.settings_model(), "security")
        for draft in drafts:
            await tracker.ensure_issue(EffectKey(str(uuid4())), draft)
        await openpgp.aclose()
        await store.aclose()

    def journal(self, number: int) -> list[tuple[str, Any]]:
        """Return events and facts of an issue's journal."""

        async def read() -> list[tuple[str, Any]]:
            store = await Store.open(self.database, clock=StillClock())
            entries = await store.journal(f"issue-{number}")
            await store.aclose()
            return [(entry.event, entry.facts) for entry in entries]

        return asyncio.run(read())

    def issue(self, *arguments: str, status: int = 0, stdin: bytes = b"") -> Done:
        """Run ``secbridge issue …``."""
        done = secbridge("issue", *arguments, config=self.config, stdin=stdin)
        assert done.status == status, done.err
        assert "Traceback" not in done.err
        return done


def a_draft(name: str = "SB-2026-0001", *, text: str = f"{CANARY}\n", **given: Any) -> IssueDraft:
    """Return an issue with a report and a file; ``given`` replaces its fields."""
    draft = IssueDraft(
        case_id=name,
        title=f"Security report {name}",
        header=(Paragraph("Received by mail."),),
        report=(Untrusted(text),),
        labels=("Security",),
        assignees=("alex",),
        due=date(2099, 11, 27),
        attachments=(DraftAttachment(f"{name}-1.bin", "application/zip", b"PK proof"),),
    )
    return replace(draft, **given)


@pytest.fixture
def office(tmp_path: Path, role_ring: Ring, keys: Keys) -> Office:
    """Return an office with one issue."""
    made = Office(tmp_path, role_ring, keys.role_fpr)
    made.file(a_draft())
    return made


def test_the_list_needs_no_key(office: Office, role_ring: Ring, keys: Keys) -> None:
    """Titles are neutral, and the texts stay sealed."""
    role_ring.forget(keys.role_fpr)
    (row,) = office.issue("list", "--json").rows
    assert row == {
        "number": 1,
        "project": "security",
        "title": "Security report SB-2026-0001",
        "state": "open",
        "confidential": True,
        "labels": ["Security"],
        "assignees": ["alex"],
        "due": "2099-11-27",
        "overdue": False,
        "created_at": "2026-11-20T12:00:00+00:00",
        "updated_at": "2026-11-20T12:00:00+00:00",
    }
    text = office.issue("list").text
    assert "Security report SB-2026-0001" in text
    assert "2099-11-27" in text


def test_an_issue_is_shown_with_its_report_and_its_files(office: Office) -> None:
    """What the team sees: secrecy, labels, owner, date, text, and neutral names of files."""
    text = office.issue("show", "1").text
    for told in ("confidential", "Security", "alex", "2099-11-27", CANARY, "SB-2026-0001-1.bin"):
        assert told in text
    row = office.issue("show", "1", "--json").row
    assert CANARY in row["text"]
    assert row["attachments"] == [
        {"name": "SB-2026-0001-1.bin", "type": "application/zip", "size": 8}
    ]
    assert row["comments"] == []


def test_nothing_in_a_report_acts_on_the_terminal(office: Office) -> None:
    """Escape sequences are written out."""
    office.file(a_draft("SB-2026-0002", text="\x1b]0;gone\x07 [red]word[/]\n"))
    text = office.issue("show", "2").text
    assert "\x1b" not in text
    assert "⟦U+001B⟧" in text
    assert "[red]word[/]" in text


def test_attachments_are_opened_for_their_owner_alone(office: Office, tmp_path: Path) -> None:
    """They are written where nobody else can read them, and never over another file."""
    folder = tmp_path / "saved"
    office.issue("show", "1", "--save", str(folder))
    (path,) = folder.iterdir()
    assert (path.name, path.read_bytes()) == ("SB-2026-0001-1.bin", b"PK proof")
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    again = office.issue("show", "1", "--save", str(folder), status=2)
    assert "is there already" in again.err


def test_an_issue_without_files_says_so_to_whom_they_are_to_be_saved(
    office: Office, tmp_path: Path
) -> None:
    """Silence would look like success."""
    office.file(a_draft("SB-2026-0002", attachments=()))
    folder = tmp_path / "saved"
    text = office.issue("show", "2", "--save", str(folder)).text
    assert text.splitlines()[-1] == "It has no attachments: nothing was written."
    assert not folder.exists()


def test_a_long_line_of_a_report_is_not_broken_in_a_pipe(office: Office) -> None:
    """A stack trace that was folded is another one."""
    line = " ".join(["frame"] * 60)
    office.file(a_draft("SB-2026-0002", text=f"{line}\n"))
    assert line in office.issue("show", "2").text


def test_a_comment_is_sealed_and_opened_again(office: Office) -> None:
    """It comes from standard input or the command line, and lies in the store as ciphertext."""
    office.issue("comment", "1", stdin=b"We can reproduce it: Waldrapp.\n")
    office.issue("comment", "1", "Fixed in 2.4.2.")
    row = office.issue("show", "1", "--json").row
    assert [one["text"].strip() for one in row["comments"]] == [
        "We can reproduce it: Waldrapp.",
        "Fixed in 2.4.2.",
    ]
    held = b"".join(path.read_bytes() for path in office.database.parent.iterdir())
    assert b"Waldrapp" not in held
    assert "Waldrapp" in office.issue("show", "1").text


def test_an_empty_comment_is_no_comment(office: Office) -> None:
    """Somebody pressed Return too early."""
    done = office.issue("comment", "1", stdin=b" \n", status=2)
    assert done.err == "secbridge: The comment is empty. Write it on standard input.\n"


def test_labels_are_added_and_taken_away(office: Office) -> None:
    """Several at once, both ways in one command."""
    office.issue("label", "1", "--add", "confirmed", "--add", "high")
    row = office.issue("label", "1", "--remove", "high", "--json").row
    assert sorted(row["labels"]) == ["Security", "confirmed"]
    done = office.issue("label", "1", status=2)
    assert done.err == "secbridge: Name a label with --add or --remove.\n"


def test_a_closed_issue_leaves_the_list_and_comes_back(office: Office) -> None:
    """The list shows what is to be done; --all shows the rest."""
    closed = office.issue("close", "1").text
    assert closed == "Issue 1 is closed, with Security, of alex, due 2099-11-27.\n"
    assert office.issue("list").text == "No open issues; --all shows closed ones.\n"
    assert [row["state"] for row in office.issue("list", "--all", "--json").rows] == ["closed"]
    assert office.issue("reopen", "1", "--json").row["state"] == "open"
    assert [row["number"] for row in office.issue("list", "--json").rows] == [1]


def test_the_list_shows_what_one_asks_for(office: Office) -> None:
    """By person, by label, by date, and what is over its time: enough to work from."""
    late = date(2020, 1, 31)
    confirmed = a_draft("SB-2026-0002", assignees=("kim", "Alex"), labels=("Security", "confirmed"))
    office.file(confirmed, a_draft("SB-2026-0003", assignees=(), due=late))

    def listed(*options: str) -> list[int]:
        return [row["number"] for row in office.issue("list", "--json", *options).rows]

    assert [2, 1] == listed("--assignee", "@ALEX")
    assert [3] == listed("--assignee", "")
    assert [2] == listed("--label", "Confirmed")
    assert [3] == listed("--due", "2020-01-31")
    assert "2020-01-31 OVERDUE" in office.issue("list", "--overdue").text
    office.issue("close", "3")
    assert [] == listed("--overdue", "--all")
    assert "No such issues." in office.issue("list", "--label", "nowhere").text


def test_an_issue_is_given_to_people_and_taken_from_them(office: Office) -> None:
    """The names that are given are all who have it."""
    assert ["kim", "lee"] == office.issue("assign", "1", "kim", "lee", "--json").row["assignees"]
    assert [] == office.issue("assign", "1", "--nobody", "--json").row["assignees"]
    done = office.issue("assign", "1", status=2)
    assert done.err == "secbridge: Name who shall have it, or --nobody.\n"


def test_a_change_by_hand_is_journalled_with_who_made_it(office: Office) -> None:
    """So that the conversation knows it from a change by the daemon."""
    office.issue("close", "1")
    (facts,) = [entry for event, entry in office.journal(1) if event == "issue.changed"]
    assert facts["by"]


# ── Export ───────────────────────────────────────────────────────────────────────────────────────


def test_an_export_is_what_the_schema_says(office: Office, tmp_path: Path) -> None:
    """Issue, comments and files, opened, for their owner alone; a file for each."""
    office.issue("comment", "1", "Reproduced.")
    folder = tmp_path / "out"
    written = office.issue("export", "1", "--output", str(folder), "--json").rows
    files = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert files == {one["path"] for one in written}
    row = json.loads((folder / "issue-1.json").read_text())
    schema = json.loads((ROOT / "docs" / "issue-export.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(row)
    assert CANARY in row["text"]
    assert ["Reproduced."] == [one["text"] for one in row["comments"]]
    (file,) = row["attachments"]
    assert b"PK proof" == (folder / file["file"]).read_bytes()
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert {"issue-1.json": 0o600, "issue-1": 0o700, "SB-2026-0001-1.bin": 0o600} == modes


def test_an_export_never_replaces_a_file(office: Office, tmp_path: Path) -> None:
    """Somebody may have written notes into the one of yesterday."""
    folder = tmp_path / "out"
    office.issue("export", "--all", "--output", str(folder))
    again = office.issue("export", "--all", "--output", str(folder), status=2)
    assert "is there already" in again.err


def test_all_issues_are_exported_oldest_first_with_closed_ones(office: Office) -> None:
    """On standard output, one JSON object a line, and no file is named that was not written."""
    office.file(a_draft("SB-2026-0002"))
    office.issue("close", "1")
    rows = office.issue("export", "--all").rows
    assert [(1, "closed"), (2, "open")] == [(row["number"], row["state"]) for row in rows]
    assert [None] == [file["file"] for file in rows[0]["attachments"]]


def test_markdown_is_for_people_and_nothing_in_it_acts(office: Office, tmp_path: Path) -> None:
    """A report with markup stays one block of code; headings and links are ours alone."""
    office.file(a_draft("SB-2026-0002", text="# loud\n```\n![x](http://evil.test/x.png)\n\x1b[31m"))
    folder = tmp_path / "out"
    office.issue("export", "2", "--format", "markdown", "--output", str(folder))
    text = (folder / "issue-2.md").read_text()
    tokens = MarkdownIt("commonmark").parse(text)
    headings = [tokens[n + 1].content for n, one in enumerate(tokens) if one.type == "heading_open"]
    assert ["Issue 2: `Security report SB-2026-0002`", "Attachments"] == headings
    inline = [child for token in tokens for child in token.children or ()]
    assert [] == [child for child in inline if child.type == "image"]
    links = [child.attrs["href"] for child in inline if child.type == "link_open"]
    assert ["issue-2/SB-2026-0002-1.bin"] == links
    assert (folder / "issue-2" / "SB-2026-0002-1.bin").is_file()
    assert "\x1b" not in text


def test_an_export_wants_to_know_of_what(office: Office) -> None:
    """One issue or all of them; not both, not neither."""
    for arguments in ((), ("1", "--all")):
        done = office.issue("export", *arguments, status=2)
        assert done.err == "secbridge: Name the number of an issue, or --all.\n"


# ── What cannot be done ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["show", "comment", "close", "reopen", "export"])
def test_an_issue_that_is_not_there_is_told(office: Office, verb: str) -> None:
    """With the command that shows which are."""
    done = office.issue(verb, "7", stdin=b"words", status=2)
    assert done.err == (
        "secbridge: There is no issue 7 in the embedded tracker. "
        "`secbridge issue list --all` shows all.\n"
    )


def test_a_key_that_is_gone_is_our_fault_and_told_as_such(
    office: Office, role_ring: Ring, keys: Keys
) -> None:
    """The issue is there; what opens it is not."""
    role_ring.forget(keys.role_fpr, secret_only=True)
    done = office.issue("show", "1", status=2)
    assert CANARY not in done.err
    assert "OpenPGP" in done.err
