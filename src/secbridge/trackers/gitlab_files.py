"""How do files get beside an issue of a GitLab?  Sealed, because uploads do not keep its secret.

An upload belongs to the project: in a public one, whoever has its address reads it; in others,
members do, and images are shown to everybody unless the project protects them.  So files go as
ciphertext, or plain (``attachments = "upload"``) where the project is seen to protect them.

GitLab lists uploads to Maintainers only, and without their addresses.  So what was uploaded is
remembered here until the process ends; a lost answer or a crash between upload and telling leaves a
file behind that no issue names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from secbridge.errors import PermanentFault
from secbridge.model.issue import CommentDraft, DraftAttachment, FileLinks, IssueDraft, Note
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json, Upload, segment
from secbridge.trackers.files import FilePlan, FilePolicy, plan_files, withheld
from secbridge.trackers.gitlab_door import GitLabDoor
from secbridge.trackers.registry import TeamSealer

REMEMBERED = 1000
"""How many uploads are remembered."""

_ADDRESS = re.compile(r"/uploads/[0-9a-f]{32,128}/[A-Za-z0-9._-]{1,120}")
"""An upload's address as Markdown has it; GitLab copies such files when it moves an issue."""

_MEDIA = ("image/", "video/", "audio/")


@dataclass(frozen=True, slots=True)
class Protection:
    """How a project keeps uploads: from outsiders, and also those that GitLab shows as media."""

    files: bool
    media: bool


def protection(project: Mapping[str, Json]) -> Protection:
    """Return what a project's own answer says of its uploads; what it does not say is not so."""
    files = project.get("visibility") in {"private", "internal"}
    return Protection(files, files and project.get("enforce_auth_checks_on_uploads") is True)


class Files:
    """Puts files beside issues by the tracker's policy."""

    def __init__(self, door: GitLabDoor, policy: FilePolicy, team: TeamSealer | None) -> None:
        self.policy = policy
        self._door = door
        self._team = team
        self._there: dict[tuple[str, str], str] = {}

    async def attach(
        self, project: str, draft: IssueDraft | CommentDraft, *, whole: str | None
    ) -> Sequence[Note]:
        """Upload what the policy allows, each file once, and say where it is.

        A file that GitLab refuses is withheld, and keeps nobody from reading the report.
        """
        plan = await self._plan(project, draft, whole)
        try:
            rows = [(file.name, await self._put(project, file)) for file in plan.files]
        except PermanentFault as error:
            return withheld(f"Files are not here: {error.sentence}", draft)
        return (*plan.notes, FileLinks(tuple(rows))) if rows else plan.notes

    async def _plan(
        self, project: str, draft: IssueDraft | CommentDraft, whole: str | None
    ) -> FilePlan:
        if self.policy is not FilePolicy.UPLOAD or not (draft.attachments or whole):
            return await plan_files(draft, self.policy, self._team, whole=whole)
        shield = protection(await self._read(project))
        if not shield.files:
            return await plan_files(draft, FilePolicy.SEALED, self._team, whole=whole)
        if shield.media:
            return await plan_files(draft, FilePolicy.UPLOAD, self._team, whole=whole)
        plain = await plan_files(
            _with_files(draft, media=False), FilePolicy.UPLOAD, self._team, whole=whole
        )
        media = await plan_files(_with_files(draft, media=True), FilePolicy.SEALED, self._team)
        return FilePlan((*plain.files, *media.files), (*plain.notes, *media.notes))

    async def _read(self, project: str) -> Mapping[str, Json]:
        """Return the project as it is now: it may have been opened since the last look."""
        return answers.as_object(
            await self._door.get("read project", f"/projects/{segment(project)}")
        )

    async def _put(self, project: str, file: DraftAttachment) -> str:
        """Return the address of a file, uploaded now or before."""
        key = (project, file.name)
        if key not in self._there:
            answer = await self._door.upload(
                "upload file",
                f"/projects/{segment(project)}/uploads",
                Upload(file.name, file.content),
            )
            address = answers.text(answer, "url")
            if not _ADDRESS.fullmatch(address):
                raise answers.without_id()
            self._there[key] = address
            if len(self._there) > REMEMBERED:
                del self._there[next(iter(self._there))]
        return self._there[key]


def _with_files(draft: IssueDraft | CommentDraft, *, media: bool) -> IssueDraft | CommentDraft:
    """Return the draft with those of its files alone that GitLab would show as media, or not."""
    files = tuple(file for file in draft.attachments if file.media_type.startswith(_MEDIA) is media)
    return replace(draft, attachments=files)
