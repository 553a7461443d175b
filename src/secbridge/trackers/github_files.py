"""How do files get beside an issue of a GitHub?  As files of the private repository.

GitHub has no interface to attach a file to an issue.  A file that is committed is seen by those who
see the repository, and stays in its history, so it goes there sealed unless the operator decides
otherwise.  Its path is made of the case and a neutral name, by which it is there once.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.issue import CommentDraft, DraftAttachment, FileLinks, IssueDraft, Note
from secbridge.trackers import github_answers as answers
from secbridge.trackers.door import segment
from secbridge.trackers.files import FilePolicy, plan_files, withheld
from secbridge.trackers.github_place import Place
from secbridge.trackers.registry import TeamSealer

FOLDER = "secbridge"
"""The folder of the repository in which there is a folder for each case."""


class Files:
    """Puts files into one repository by the tracker's policy.

    ``branch`` is where they are committed; "" stands for the repository's default.
    """

    def __init__(
        self, place: Place, policy: FilePolicy, team: TeamSealer | None, *, branch: str = ""
    ) -> None:
        self.policy = policy
        self.place = place
        self._team = team
        self._branch = branch

    async def attach(
        self, draft: IssueDraft | CommentDraft, *, whole: str | None
    ) -> Sequence[Note]:
        """Commit what the policy allows, each file once, and say where it is.

        A file that GitHub refuses is withheld, and keeps nobody from reading the report.
        """
        plan = await plan_files(draft, self.policy, self._team, whole=whole)
        if not plan.files:
            return plan.notes
        await self.place.must_keep_secrets()
        try:
            rows = [(file.name, await self._put(draft.case_id, file)) for file in plan.files]
        except PermanentFault as error:
            return withheld(f"Files are not here: {error.sentence}", draft)
        return (*plan.notes, FileLinks(tuple(rows)))

    async def _put(self, case_id: str, file: DraftAttachment) -> str:
        """Commit one file, and return its address; what has its path is left as it is.

        GitHub does not overwrite a file without being told the digest of what is there (422).
        """
        path = f"{self.place.path}/contents/{FOLDER}/{segment(case_id)}/{segment(file.name)}"
        body = {
            "message": f"Add a file of {case_id}",
            "content": b64encode(file.content).decode(),
            **({"branch": self._branch} if self._branch else {}),
        }
        try:
            made = await self.place.door.put("put file", path, body)
        except PermanentFault as error:
            if error.code not in {"tracker-refused", "tracker-conflict"}:
                raise
            return await self._there(path, error)
        return answers.text(answers.inner(made, "content"), "html_url")

    async def _there(self, path: str, refusal: PermanentFault) -> str:
        """Return the address of a file that is there; without one the refusal had another reason.

        A conflict (409) means that another commit came between; it passes.
        """
        query = {"ref": self._branch} if self._branch else {}
        try:
            found = await self.place.door.get("read file", path, **query)
        except PermanentFault:
            if refusal.code == "tracker-conflict":
                raise TransientFault("tracker-busy", "Another commit came between.") from None
            raise refusal from None
        return answers.text(answers.as_object(found), "html_url")
