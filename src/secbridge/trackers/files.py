"""How does a team get the files of a report?  As the tracker's ``attachments`` policy says.

Where a tracker shows files to whoever has their address, they are sealed to the members and to the
role key; where files follow the rights of the issue, they are uploaded as they are.  What cannot be
given is withheld, with the command by which an operator gets it.  Names are always ours.

An adapter asks three things of this page, each in one place:

- its tracker drops what the policy does not show, before anything else::

      telling.ensure_issue(desk, key, shown(draft, policy), now=…)

- its desk's ``attach`` makes a plan, puts ``plan.files`` beside the issue, each once by its name,
  and returns ``plan.notes`` with where each file is (``FileLinks``);
- a text that does not fit is one file more: ``attach`` passes ``whole=whole_text(draft)`` when the
  rendered text is longer than its limit (``compose`` cuts it, and says so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar, assert_never

from secbridge.model.issue import (
    Block,
    CommentDraft,
    DraftAttachment,
    IssueDraft,
    Paragraph,
    Untrusted,
)
from secbridge.rules.drafting import plain
from secbridge.trackers.registry import TeamSealer

SEALED_SUFFIX = ".pgp"
SEALED_TYPE = "application/octet-stream"
WHOLE_SUFFIX = ".txt"
WHOLE_TYPE = "text/plain"

Draft = TypeVar("Draft", IssueDraft, CommentDraft)


class FilePolicy(StrEnum):
    """What becomes of files.

    ``inline-text``: texts are shown in the issue, others withheld.  ``upload``: all are handed to
    the tracker as they are.  ``sealed``: all are handed to it encrypted to the members and the role
    key.  ``withhold``: none is, and no text of one is shown.
    """

    INLINE_TEXT = "inline-text"
    UPLOAD = "upload"
    SEALED = "sealed"
    WITHHOLD = "withhold"


@dataclass(frozen=True, slots=True, repr=False)
class FilePlan:
    """The files to hand to the tracker as they are here, and what else to say of files.

    Where each file is, the adapter says itself, since it alone knows (``model.issue.FileLinks``).
    """

    files: tuple[DraftAttachment, ...] = ()
    notes: tuple[Paragraph, ...] = ()

    def __repr__(self) -> str:
        return f"FilePlan({len(self.files)} files)"


# ── What of files the issue itself shows ─────────────────────────────────────────────────────────


def shown(draft: Draft, policy: FilePolicy) -> Draft:
    """Return the draft without the texts of files that ``policy`` does not show."""
    if policy is not FilePolicy.WITHHOLD:
        return draft
    match draft:
        case IssueDraft():
            return replace(draft, report=_without_files(draft.report))
        case CommentDraft():
            return replace(draft, blocks=_without_files(draft.blocks))


def _without_files(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(block for block in blocks if not (isinstance(block, Untrusted) and block.file))


def whole_text(draft: IssueDraft | CommentDraft) -> str:
    """Return all that a draft says, uncut, as plain text in which no line of a mail poses as ours.

    It is what ``plan_files`` takes as ``whole``.
    """
    return plain.issue_text(draft) if isinstance(draft, IssueDraft) else plain.comment_text(draft)


# ── Which files go to the tracker ────────────────────────────────────────────────────────────────


async def plan_files(
    draft: IssueDraft | CommentDraft,
    policy: FilePolicy,
    team: TeamSealer | None,
    *,
    whole: str | None = None,
) -> FilePlan:
    """Return the files of a draft as ``policy`` allows.  Raises PermanentFault as ``team`` does.

    ``whole`` is the whole text (``whole_text``) of a draft that does not fit into the tracker; it
    becomes the file ``NAME.txt``, uploaded or sealed as the others are.  Where files are withheld,
    the note about the cut names the command for the raw mail, and that is all.
    """
    files = (*draft.attachments, *_whole(draft, whole))
    if not files:
        return FilePlan()
    match policy:
        case FilePolicy.UPLOAD:
            return FilePlan(files)
        case FilePolicy.SEALED:
            return await _sealed_plan(draft, files, team)
        case FilePolicy.INLINE_TEXT:
            why = "Only texts of files are shown here, and files themselves are not put here."
            return FilePlan(notes=() if _all_shown(draft) else withheld(why, draft))
        case FilePolicy.WITHHOLD:
            return FilePlan(notes=withheld("Files are not put here.", draft))
        case _:
            assert_never(policy)


async def _sealed_plan(
    draft: IssueDraft | CommentDraft, files: Sequence[DraftAttachment], team: TeamSealer | None
) -> FilePlan:
    readers = await team.readers() if team else ()
    if team is None or not readers:
        why = "Files are withheld, since no member of the team has a key to seal them to."
        return FilePlan(notes=withheld(why, draft))
    sealed = tuple([await _sealed(file, team, readers) for file in files])
    told = "Files are sealed to the members of the team and to the role key: gpg --decrypt opens."
    notes = [Paragraph(told)]
    if left_out := len(team.members) - len(readers):
        notes.append(Paragraph(_left_out(left_out)))
    return FilePlan(sealed, tuple(notes))


async def _sealed(
    file: DraftAttachment, team: TeamSealer, readers: Sequence[str]
) -> DraftAttachment:
    content = await team.seal_to(readers, file.content)
    return DraftAttachment(f"{file.name}{SEALED_SUFFIX}", SEALED_TYPE, content)


def _left_out(number: int) -> str:
    who = "One member has" if number == 1 else f"{number} members have"
    return f"{who} no usable key and cannot open them; secbridge check says who, and why."


def _whole(draft: IssueDraft | CommentDraft, text: str | None) -> tuple[DraftAttachment, ...]:
    if text is None:
        return ()
    name = f"{draft.name or draft.case_id}{WHOLE_SUFFIX}"
    return (DraftAttachment(name, WHOLE_TYPE, text.encode()),)


def _all_shown(draft: IssueDraft | CommentDraft) -> bool:
    """Whether the blocks show the whole content of each attachment."""
    blocks = draft.report if isinstance(draft, IssueDraft) else draft.blocks
    texts = {block.file: block.text for block in blocks if isinstance(block, Untrusted)}
    return all(texts.get(file.name) == _text(file) for file in draft.attachments)


def _text(file: DraftAttachment) -> str:
    return file.content.decode("utf-8", "replace").replace("\r\n", "\n")


# ── What is said of files that are not there ─────────────────────────────────────────────────────


def withheld(why: str, draft: IssueDraft | CommentDraft) -> tuple[Paragraph, ...]:
    """Return why the files of a draft are not here, and the command by which an operator gets them.

    The command is of our own making, so that it needs no fence in any dialect.  A draft without
    files needs no such word: where its text was cut, the cut itself names the command.
    """
    if not draft.attachments:
        return ()
    command = draft.files_command or draft.raw_command
    return (Paragraph(f"{why} An operator gets them with: {command}"),)
