"""Where is an issue of a GitLab now?  People move issues to other projects; we go after them.

GitLab closes the issue that was moved and leaves it behind, with the id of the new one.  What is
in the new place is known by that id alone, and REST tells it to administrators only, so GraphQL is
asked for project and number.  The way is remembered, so that later requests go straight there.
"""

from __future__ import annotations

from collections.abc import Mapping

from secbridge.errors import PermanentFault, TransientFault
from secbridge.model.case import IssueRef
from secbridge.trackers import gitlab_answers as answers
from secbridge.trackers.door import Json, segment
from secbridge.trackers.gitlab_door import GitLabDoor

HOPS = 4
"""How often an issue may have been moved until we give up."""

_WHERE = """
query($id: IssueID!) { issue(id: $id) { iid projectId reference(full: true) webUrl } }
"""


class Places:
    """The places of a project's issues.  ``project`` is what the configuration calls it."""

    def __init__(self, name: str, project: str, door: GitLabDoor) -> None:
        self.name = name
        self.project = project
        self.root = f"/projects/{segment(project)}"
        self._door = door
        self._moved: dict[str, IssueRef] = {}

    def present(self, ref: IssueRef) -> IssueRef:
        """Return where an issue is, by what was read before."""
        for _ in range(HOPS):
            if ref.id not in self._moved:
                break
            ref = self._moved[ref.id]
        return ref

    def path(self, ref: IssueRef) -> str:
        """Return the path of an issue in the API, where it is by what was read before."""
        here = self.present(ref)
        return f"/projects/{segment(here.project)}/issues/{here.number}"

    def ref(self, item: Mapping[str, Json]) -> IssueRef:
        """Return the issue that an answer describes; our own project keeps its configured name."""
        path, number = answers.project_path(item), str(item.get("project_id", ""))
        ours = self.project == number or path.casefold() == self.project.casefold()
        return IssueRef(
            self.name,
            self.project if ours else path or number,
            id=str(item.get("id", "")),
            number=str(item.get("iid", "")),
            url=answers.text(item, "web_url"),
        )

    async def read(self, ref: IssueRef) -> Mapping[str, Json]:
        """Return the issue as it is now, where it is now.

        Raises PermanentFault when it was moved to where we cannot read it.
        """
        here, moved = self.present(ref), False
        for _ in range(HOPS):
            item = await self._get(here, moved=moved)
            if not isinstance(target := item.get("moved_to_id"), int):
                return item
            there = await self._find(target)
            self._moved[here.id], here, moved = there, there, True
        raise self._door.permanent("tracker-moved-away")

    async def _get(self, ref: IssueRef, *, moved: bool) -> Mapping[str, Json]:
        path = f"/projects/{segment(ref.project)}/issues/{ref.number}"
        try:
            return answers.as_object(await self._door.get("read issue", path))
        except PermanentFault as error:
            if moved and error.code in {"tracker-not-found", "tracker-forbidden"}:
                raise self._door.permanent("tracker-moved-away") from None
            raise

    async def _find(self, target: int) -> IssueRef:
        """Return the issue with this id, in whatever project it is."""
        answer = await self._door.ask_graphql(
            "find moved issue", _WHERE, id=f"gid://gitlab/Issue/{target}"
        )
        if "issue" not in answer:
            raise TransientFault("tracker-answer-unreadable", "The tracker's answer says nothing.")
        found = answer["issue"]
        if not isinstance(found, dict):
            raise self._door.permanent("tracker-moved-away")
        project = answers.text(found, "reference").rpartition("#")[0]
        return IssueRef(
            self.name,
            project or str(found.get("projectId", "")),
            id=str(target),
            number=answers.text(found, "iid"),
            url=answers.text(found, "webUrl"),
        )
