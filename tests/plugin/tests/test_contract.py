"""Does the folder keep secbridge's contract?  The suite of every tracker, before real files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from secbridge_folder.desk import LIMIT
from secbridge_folder.shelf import Record
from secbridge_folder.tracker import FolderTracker, plugin

from secbridge.model.case import IssueRef
from secbridge.model.issue import Actor, CommentDraft, IssueChange, IssueDraft, Severity
from secbridge.ports import EffectKey, Tracker
from secbridge.rules.drafting import markdown
from secbridge.testing import HeldClock, SecrecyContract, Shown, TrackerContract, a_context
from secbridge.testing.drafts import comment_draft, new_key, report_draft

OURS = re.compile(
    r"<!-- secbridge:[a-z]+(=[0-9a-f-]{36})? -->|<details><summary>.*</summary>|</details>"
)
"""The HTML that secbridge itself writes: markers, and what folds a quotation."""


class FolderBench:
    """The tracker before a folder of a test."""

    commander = Actor("1000", "alex")
    stranger = Actor("1001", "mallory")

    def __init__(self, root: Path) -> None:
        self.path = root / "reports"
        self.path.mkdir(mode=0o770)
        self.project = "reports"
        self.clock = HeldClock()
        settings = plugin.settings_model(root=root, commanders=("alex", "kim"))
        tracker = plugin.create(a_context(self.clock), settings, self.project)
        assert isinstance(tracker, FolderTracker)
        self.tracker: Tracker = tracker
        self.desk = tracker.desk

    async def issues(self) -> Sequence[Shown]:
        """Return what stands in the files."""
        return [self._shown(place) for place in sorted(self.path.glob("[0-9]*"))]

    def _shown(self, place: Path) -> Shown:
        record = Record.read((place / "issue.json").read_text("utf-8"))
        comments = sorted((place / "comments").glob("*.md"), key=lambda file: file.stat().st_mtime)
        is_open = any(folder.stat().st_mode & 0o005 for folder in (self.path, place))
        return Shown(
            number=place.name,
            title=record.title,
            text=(place / "issue.md").read_text("utf-8"),
            confidential=not is_open,
            open=record.open,
            labels=record.labels,
            assignees=record.assignees,
            due=date.fromisoformat(record.due) if record.due else None,
            comments=tuple(file.read_text("utf-8") for file in comments),
        )

    def told(self, key: EffectKey, draft: IssueDraft) -> str:
        """Return the Markdown of a told issue without files."""
        return markdown.told_issue(draft, key.marker, limit=LIMIT)

    def told_comment(self, key: EffectKey, draft: CommentDraft) -> str:
        """Return the Markdown of a comment without files."""
        return markdown.told_comment(draft, key.marker, limit=LIMIT)

    async def files(self) -> Sequence[tuple[str, bytes]]:
        """Return the files of all issues."""
        return [(file.name, file.read_bytes()) for file in self.path.glob("*/files/*")]

    async def write(self, ref: IssueRef, text: str) -> None:
        """Put a comment there, as a person does with an editor."""
        folder = self.path / ref.number / "comments"
        (folder / f"note-{len(list(folder.iterdir()))}.md").write_text(text, "utf-8")

    async def close(self, ref: IssueRef) -> None:
        """Change the record by hand."""
        file = self.path / ref.number / "issue.json"
        file.write_text(file.read_text("utf-8").replace('"open": true', '"open": false'), "utf-8")

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change the record by hand."""
        file = self.path / ref.number / "issue.json"
        record = Record.read(file.read_text("utf-8"))
        gone, given = set(change.remove_labels), change.add_labels
        labels = (*(label for label in record.labels if label not in gone), *given)
        people = record.assignees if change.assignees is None else change.assignees
        is_open = record.open if change.open is None else change.open
        record = replace(record, labels=labels, assignees=people, open=is_open)
        file.write_text(record.written(), "utf-8")

    async def open_by_hand(self, *, secret: bool) -> IssueRef | None:
        """Make a folder by hand."""
        shelf = self.desk.shelf
        number = shelf.create(Record(title="By hand", labels=("Security",)), "By hand\n")
        (self.path / number).chmod(0o770 if secret else 0o775)
        return self.desk.ref(number)

    async def alive(self) -> Sequence[str]:
        """Return links, images and HTML that a CommonMark parser finds."""
        texts = [file.read_text("utf-8") for file in self.path.glob("*/**/*.md")]
        return [what for text in texts for what in _acting(MarkdownIt().parse(text))]

    def bodies(self) -> str:
        """Return all that lies in the folder, names and contents."""
        files = [file for file in self.path.rglob("*") if file.is_file()]
        return "".join(f"{file.name}\n{file.read_bytes()!r}\n" for file in files)

    def keep_no_secret(self) -> None:
        """Let everybody into the folder of the project."""
        self.path.chmod(0o775)

    def keep_secrets_again(self) -> None:
        """Let nobody but the team in."""
        self.path.chmod(0o770)


def _acting(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in {"link_open", "image"}:
            yield str(token.attrs)
        elif token.type in {"html_block", "html_inline"}:
            yield from (line for line in token.content.split("\n") if OURS.sub("", line).strip())
        yield from _acting(token.children or [])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[FolderBench]:
    """Return the tracker before an empty folder."""
    bench = FolderBench(tmp_path)
    yield bench
    await bench.tracker.aclose()


class TestContract(TrackerContract):
    """What every tracker keeps."""


class TestSecrecy(SecrecyContract):
    """What a tracker keeps in which an issue could be shown to others."""


# ── What only a folder does ──────────────────────────────────────────────────────────────────────


async def test_check_finds_a_folder_that_others_can_read(bench: FolderBench) -> None:
    """The finding refuses to file there, and names setting and mend."""
    bench.keep_no_secret()
    found = [one for one in await bench.tracker.check() if one.severity is Severity.ERROR]
    assert ["trackers.t.root"] == [one.setting for one in found]
    assert found[0].mend


@pytest.mark.parametrize("project", ["gone", "../reports", "", "/etc"])
async def test_check_finds_a_project_that_is_no_folder(tmp_path: Path, project: str) -> None:
    """A missing folder, and names that lead elsewhere, are errors and not exceptions."""
    tracker = plugin.create(a_context(HeldClock()), plugin.settings_model(root=tmp_path), project)
    (finding,) = await tracker.check()
    assert finding.severity is Severity.ERROR


async def test_a_comment_of_ours_is_a_file_named_by_its_marker(bench: FolderBench) -> None:
    """Two comments of ours are two files, each named by its own marker."""
    ref = await bench.tracker.ensure_issue(new_key(), report_draft(bench))
    keys = [new_key(), new_key()]
    for key in keys:
        await bench.tracker.ensure_comment(ref, key, comment_draft(bench))
    names = {file.name for file in (bench.path / ref.number / "comments").iterdir()}
    assert {f"secbridge-{key.marker}.md" for key in keys} == names


@pytest.mark.parametrize("text", ["", "[]", "{", '{"labels": 5, "open": "no", "due": 1}'])
def test_a_record_that_a_person_broke_is_read_all_the_same(text: str) -> None:
    """A slip of the editor loses no issue."""
    assert Record() == Record.read(text)
