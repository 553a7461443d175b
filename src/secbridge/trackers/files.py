"""How does a team get the files of a report?  As the tracker's ``attachments`` policy says.

Where a tracker shows files to whoever has their address, they are sealed to the members and to the
role key; where files follow the rights of the issue, they are uploaded as they are.  What cannot be
given is withheld, with the command by which an operator gets it.  Names are always ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from secbridge.model.issue import CommentDraft, DraftAttachment, IssueDraft, Paragraph
from secbridge.trackers.registry import TeamSealer

SEALED_SUFFIX = ".pgp"
SEALED_TYPE = "application/octet-stream"


class FilePolicy(StrEnum):
    """What becomes of files.  ``inline-text``: texts are shown in the issue, others withheld."""

    INLINE_TEXT = "inline-text"
    UPLOAD = "upload"
    SEALED = "sealed"
    WITHHOLD = "withhold"


@dataclass(frozen=True, slots=True, repr=False)
class FilePlan:
    """The files to hand to the tracker as they are here, and what to say of the others."""

    files: tuple[DraftAttachment, ...] = ()
    notes: tuple[Paragraph, ...] = ()

    def __repr__(self) -> str:
        return f"FilePlan({len(self.files)} files)"


async def plan_files(
    draft: IssueDraft | CommentDraft, policy: FilePolicy, team: TeamSealer
) -> FilePlan:
    """Return the files of a draft as ``policy`` allows.  Raises PermanentFault as ``team`` does."""
    if not draft.attachments:
        return FilePlan()
    match policy:
        case FilePolicy.UPLOAD:
            return FilePlan(draft.attachments)
        case FilePolicy.SEALED if team.has_members:
            return FilePlan(tuple([await _sealed(file, team) for file in draft.attachments]))
        case FilePolicy.SEALED:
            why = "Files are withheld, since no member of the team has a key to seal them to."
            return FilePlan(notes=withheld(why, draft))
        case FilePolicy.INLINE_TEXT | FilePolicy.WITHHOLD:
            return FilePlan(notes=withheld("Files are not put here.", draft))


async def _sealed(file: DraftAttachment, team: TeamSealer) -> DraftAttachment:
    return DraftAttachment(
        f"{file.name}{SEALED_SUFFIX}", SEALED_TYPE, await team.seal(file.content)
    )


def withheld(why: str, draft: IssueDraft | CommentDraft) -> tuple[Paragraph, ...]:
    """Return why the files of a draft are not here, and the command by which an operator gets them.

    The command is of our own making, so that it needs no fence in any dialect.
    """
    return (Paragraph(f"{why} An operator gets them with: {draft.raw_command}"),)
