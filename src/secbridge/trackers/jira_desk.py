"""Which verbs does a Jira have?  The desk that ``telling`` works at, one request or two each.

Secret is an issue that shows a security level: the configured one, or, where none is configured,
the one that the project gives by default.  Issues are asked for by their numeric id, which they
keep when somebody moves them.  The marker is an entity property that is set in the very create;
that a text holds the report is read from the text itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from secbridge import maillog
from secbridge.errors import Deferral, NotConfidential, OutcomeUnknown, PermanentFault
from secbridge.model.case import CommentRef, IssueRef
from secbridge.model.issue import (
    CommentDraft,
    DraftAttachment,
    IssueChange,
    IssueDraft,
    IssueState,
    Note,
    Paragraph,
)
from secbridge.ports import Clock, EffectKey
from secbridge.rules.drafting.fitting import utf16_units
from secbridge.trackers import files
from secbridge.trackers import jira_answers as answers
from secbridge.trackers.door import Ask, Json, Upload, segment
from secbridge.trackers.files import FilePolicy
from secbridge.trackers.jira_answers import PROPERTY, SERVICE_DESK, Account, Facts, Level
from secbridge.trackers.jira_door import JiraDoor, issue_path
from secbridge.trackers.jira_finding import Finder
from secbridge.trackers.jira_people import People
from secbridge.trackers.jira_texts import dialect_of
from secbridge.trackers.registry import TeamSealer
from secbridge.trackers.telling import Seen, SeenComment

TEXT_LIMIT = 32_767
"""UTF-16 units of a description or comment; of a document its JSON is counted, to be safe."""

FIELDS = "project,status,security,labels,assignee,creator,duedate,priority,description,updated"
"""What an issue is read with."""

_OPTIONAL = {
    "tracker-priority": "priority",
    "tracker-due-date": "duedate",
    "tracker-assignee": "assignee",
}
"""Fields without which an issue is created all the same, by the refusal that names them."""

_LISTED = 20
_NO_LIMIT = 1 << 40
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator wants of issues and comments in this Jira (see ``jira.JiraSettings``)."""

    issue_type: str = "Task"
    priority: str = ""
    security_level: str = ""
    comment_role: str = ""
    comment_group: str = ""
    service_desk: bool = False
    closed_transition: str = ""
    reopened_transition: str = ""
    link_type: str = "Relates"
    attachments: FilePolicy = FilePolicy.UPLOAD
    fallback_assignee: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class SeenIssue(Seen[str]):
    """An issue as Jira shows it, with what only Jira has."""

    facts: Facts


class JiraDesk:
    """The verbs of Jira (see ``telling.Desk``); a body is a text of the dialect in normal form.

    ``settle`` is how long after its timeout an unanswered request may still take effect.
    """

    def __init__(
        self,
        name: str,
        project: str,
        door: JiraDoor,
        people: People,
        wishes: Wishes,
        *,
        clock: Clock,
        settle: timedelta,
        team: TeamSealer | None = None,
    ) -> None:
        self.name = name
        self.project = project
        self.door = door
        self.people = people
        self.wishes = wishes
        self.dialect = dialect_of(door.deployment)
        self.patience = door.longest + settle
        self._clock = clock
        self._team = team
        self._finder = Finder(door, project, FIELDS)
        self._made: dict[str, IssueRef] = {}
        self._stuck: set[str] = set()

    # ── Issues ────────────────────────────────────────────────────────────────────────────────────

    async def find_issues(self, key: EffectKey) -> Sequence[Seen[str]]:
        """Return our own issues with this marker; what this process made, it knows by itself."""
        if (made := self._made.get(key.marker)) is not None:
            return (await self.read_issue(made),)
        now, me = self._clock.now(), await self.people.myself()
        began = key.attempted_at or now
        found = await self._finder.find(key.marker, me, began=began, now=now)
        return [await self.seen(item) for item in found]

    async def create_issue(self, key: EffectKey, draft: IssueDraft) -> IssueRef:
        """Create with level, labels, people and date, but without a word of the report."""
        fields = await self._fields(draft)
        body = {
            "fields": fields,
            "properties": [
                {"key": PROPERTY, "value": {"marker": key.marker, "project": self.project}}
            ],
        }
        answer = await self._created(body, fields)
        if not answers.is_id(answer.get("id")) or not answers.text(answer, "key"):
            raise answers.without_id()
        ref = self.ref_of(answers.facts(answer))
        self._remember(key.marker, ref)
        return ref

    async def read_issue(self, ref: IssueRef) -> SeenIssue:
        """Return the issue as it is now, wherever it was moved to."""
        try:
            answer = await self.door.get(
                "read issue", issue_path(ref.id), fields=FIELDS, properties=PROPERTY
            )
        except PermanentFault as error:
            if error.code == "tracker-not-found" and self._has_made(ref):
                raise self.door.permanent("tracker-hides-issue") from None
            raise
        if not answers.is_id(answers.as_object(answer).get("id")):
            raise answers.unreadable()
        return await self.seen(answer)

    async def secure(self, ref: IssueRef, draft: IssueDraft) -> None:
        """Ask once more for the level and the labels."""
        labels = [{"add": label} for label in self._labels(draft.labels)]
        body = {"fields": self._level(), "update": {"labels": labels}}
        await self.door.put("secure issue", issue_path(ref.id), body)

    async def attach(self, seen: Seen[str], draft: IssueDraft | CommentDraft) -> Sequence[Note]:
        """Upload what the policy allows; Jira shows files to those who see the issue.

        A file that Jira refuses is withheld, and keeps nobody from reading the report.
        """
        policy = self.wishes.attachments
        plan = await files.plan_files(draft, policy, self._team, whole=self._whole(draft))
        have = await self._names_of_files(seen.ref) if plan.files else frozenset[str]()
        try:
            for file in plan.files:
                if file.name not in have:
                    await self._upload(seen.ref, file)
        except PermanentFault as error:
            return (*files.withheld(f"Files are not here: {error.sentence}", draft), *plan.notes)
        return (*_beside(plan.files), *plan.notes)

    async def _upload(self, ref: IssueRef, file: DraftAttachment) -> None:
        upload = Upload(file.name, file.content, file.media_type)
        path = f"{issue_path(ref.id)}/attachments"
        await self.door.send(Ask("attach file", "post", path, upload=upload))

    async def compose(
        self, key: EffectKey, draft: IssueDraft, seen: Seen[str], notes: Sequence[Note]
    ) -> str:
        """Return the whole description, with what a reader must know of people and fields."""
        told = [*self._unassigned(draft, seen), *self._unset(draft, seen), *notes]
        shown = files.shown(draft, self.wishes.attachments)
        return self.dialect.told_issue(shown, limit=TEXT_LIMIT, notes=told)

    async def tell(self, ref: IssueRef, body: str, draft: IssueDraft) -> None:
        """Give the issue its whole description."""
        await self._describe("tell issue", ref, body)
        self._forget(ref)

    async def withdraw(self, ref: IssueRef, key: EffectKey, draft: IssueDraft) -> None:
        """Put the description back to the header."""
        await self._describe("withdraw report", ref, self.dialect.untold_issue(draft))

    async def set_open(self, ref: IssueRef, *, is_open: bool) -> None:
        """Close or reopen; where the workflow knows no way it is alarmed, and the issue says so."""
        if await self._transition(ref, is_open=is_open):
            return
        maillog.no_transition(self.name, ref.number, "reopen" if is_open else "close")
        if is_open:
            self._stuck.add(ref.id)

    async def change(self, ref: IssueRef, change: IssueChange) -> None:
        """Change what is named.  Raises PermanentFault where the workflow knows no way."""
        fields: dict[str, Json] = {}
        if change.assignees is not None:
            people = await self._people(change.assignees) if change.assignees else ()
            fields["assignee"] = self._person(people[0]) if people else None
        if change.due is not None:
            fields["duedate"] = change.due.isoformat()
        labels = [
            *({"add": label} for label in self._labels(change.add_labels)),
            *({"remove": label} for label in self._labels(change.remove_labels)),
        ]
        if fields or labels:
            body = {"fields": fields, "update": {"labels": labels} if labels else {}}
            await self.door.put("change issue", issue_path(ref.id), body)
        if change.open is not None and not await self._transition(ref, is_open=change.open):
            raise self.door.permanent("tracker-transition")

    async def look(self, ref: IssueRef) -> IssueState:
        """Return the issue as it is now."""
        return state(await self.read_issue(ref))

    async def link(self, ref: IssueRef, other: IssueRef) -> bool:
        """Link two issues, unless they are; return False where Jira has no such type of link."""
        answer = await self.door.get("read link types", "issueLinkType")
        wanted = self.wishes.link_type.casefold()
        kinds = [
            item
            for item in answers.items(answer, "issueLinkTypes")
            if answers.text(item, "name").casefold() == wanted
        ]
        if not kinds:
            return False
        if other.id not in await self._linked(ref):
            ends = {"inwardIssue": {"id": ref.id}, "outwardIssue": {"id": other.id}}
            body = {"type": {"name": answers.text(kinds[0], "name")}, **ends}
            await self.door.post("link issues", "issueLink", body)
        return True

    # ── Comments ──────────────────────────────────────────────────────────────────────────────────

    async def find_comments(self, ref: IssueRef, key: EffectKey) -> Sequence[SeenComment[str]]:
        """Return our own comments with this marker."""
        me = await self.people.myself()
        items = await self.door.pages(
            "find comment",
            f"{issue_path(ref.id)}/comment",
            "comments",
            orderBy="created",
            expand="properties",
        )
        return tuple(
            self._seen_comment(ref, item)
            for item in answers.items(items, "")
            if answers.marker_of(item) == key.marker
            and answers.is_by(answers.account(item.get("author")), me)
        )

    async def compose_comment(
        self, key: EffectKey, draft: CommentDraft, notes: Sequence[Note]
    ) -> str:
        """Return the whole comment."""
        shown = files.shown(draft, self.wishes.attachments)
        blocks = (*shown.blocks, *notes)
        told = CommentDraft(draft.case_id, blocks, draft.internal, (), draft.raw_command)
        return self.dialect.told_comment(told, limit=TEXT_LIMIT)

    async def create_comment(
        self, ref: IssueRef, key: EffectKey, draft: CommentDraft, body: str | None
    ) -> CommentRef:
        """Create a comment; on a service desk empty at first, until it is seen to be internal."""
        text = self.dialect.untold_comment()
        if body is not None and not self.wishes.service_desk:
            text = body
        marker = {"key": PROPERTY, "value": {"marker": key.marker}}
        given = self._comment(text, marker)
        answer = await self.door.post("create comment", f"{issue_path(ref.id)}/comment", given)
        if not answers.is_id(answer.get("id")):
            raise answers.without_id()
        comment = CommentRef(ref, answer["id"])
        if body is not None and self.wishes.service_desk:
            await self._tell_at_once(comment, body)
        return comment

    async def _tell_at_once(self, ref: CommentRef, body: str) -> None:
        """Tell a comment that was just made; whatever fails, it is there, and is looked for."""
        try:
            await self.tell_comment(ref, body)
        except OutcomeUnknown:
            raise
        except Deferral as error:
            raise OutcomeUnknown(
                error.code, error.sentence, alarm=error.alarm, retry_after=error.retry_after
            ) from None

    async def read_comment(self, ref: CommentRef) -> SeenComment[str]:
        """Return the comment as it is now."""
        answer = await self.door.get("read comment", _comment_path(ref), expand="properties")
        return self._seen_comment(ref.issue, answers.as_object(answer))

    async def tell_comment(self, ref: CommentRef, body: str) -> None:
        """Give a proven comment its whole text; a service desk's is never shown to customers."""
        if self.wishes.service_desk and not (await self.read_comment(ref)).internal:
            maillog.not_confidential("", self.name, ref.issue.number, ("internal",))
            raise NotConfidential("comment-not-internal", "Customers would see the comment.")
        await self.door.put("tell comment", _comment_path(ref), self._comment(body))

    # ── What an answer shows ──────────────────────────────────────────────────────────────────────

    async def seen(self, item: Mapping[str, Json]) -> SeenIssue:
        """Return an issue of an answer; what is missing there counts as not confidential."""
        found = answers.facts(item)
        text = self.dialect.received(answers.part(item, "fields").get("description"))
        return SeenIssue(
            ref=self.ref_of(found),
            confidential=await self._is_secret(found),
            labels=found.labels,
            assignees=(found.assignee.id,) if found.assignee else (),
            open=found.is_open,
            told=self.dialect.is_told_issue(text),
            body=text,
            facts=found,
        )

    async def levels(self) -> tuple[Level, ...]:
        """Return the project's security levels that include the bot's account."""
        path = f"project/{segment(self.project)}/securitylevel"
        answer = await self.door.get("read security levels", path)
        found = [answers.level(item) for item in answers.items(answer, "levels")]
        return tuple(level for level in found if level)

    def is_wanted(self, level: Level) -> bool:
        """Whether a level is the configured one, by its id or its name; any is, without one."""
        wanted = self.wishes.security_level
        return not wanted or wanted in {level.id, level.name}

    async def _is_secret(self, found: Facts) -> bool:
        """Whether an issue has the level that it should have.

        In another project a level of the same name may include anybody: there only a level counts
        that our own project has, too.
        """
        if found.level is None or not self.is_wanted(found.level):
            return False
        if found.project == self.project or found.level.id == self.wishes.security_level:
            return True
        return found.level.id in {level.id for level in await self.levels()}

    def ref_of(self, found: Facts) -> IssueRef:
        """Return the reference of an issue: its id, which stays, and where it is by now."""
        return IssueRef(
            self.name,
            found.project or self.project,
            id=found.id,
            number=found.key,
            url=f"{self.door.url}/browse/{segment(found.key)}",
        )

    def _seen_comment(self, ref: IssueRef, item: Mapping[str, Json]) -> SeenComment[str]:
        text = self.dialect.received(item.get("body"))
        return SeenComment(
            ref=CommentRef(ref, answers.text(item, "id")),
            internal=self._is_internal(item),
            told=bool(text) and not self.dialect.is_untold_comment(text),
            body=text,
        )

    def _is_internal(self, item: Mapping[str, Json]) -> bool:
        """Whether a comment has every restriction that is configured, and there is one."""
        wanted = self._visibility()
        if wanted is not None:
            named = answers.part(item, "visibility")
            if (named.get("type"), named.get("value")) != (wanted["type"], wanted["value"]):
                return False
        if self.wishes.service_desk:
            return not answers.is_public(item)
        return wanted is not None

    # ── What is asked for ─────────────────────────────────────────────────────────────────────────

    async def _fields(self, draft: IssueDraft) -> dict[str, Json]:
        people = await self._people(draft.assignees)
        return {
            "project": {"key": self.project},
            "issuetype": {"name": self.wishes.issue_type},
            "summary": draft.title,
            "description": self.dialect.sent(self.dialect.untold_issue(draft)),
            "labels": self._labels(draft.labels),
            "duedate": draft.due.isoformat(),
            **self._level(),
            **({"priority": {"name": self.wishes.priority}} if self.wishes.priority else {}),
            **({"assignee": self._person(people[0])} if people else {}),
        }

    async def _created(self, body: Json, fields: dict[str, Json]) -> Mapping[str, Json]:
        """Create; without a field that Jira refuses and that an issue can do without."""
        while True:
            try:
                return await self.door.post("create issue", "issue", body)
            except PermanentFault as error:
                refused = _OPTIONAL.get(error.code)
                if refused is None or fields.pop(refused, None) is None:
                    raise

    def _level(self) -> dict[str, Json]:
        wanted = self.wishes.security_level
        if not wanted:
            return {}
        return {"security": {"id" if answers.is_id(wanted) else "name": wanted}}

    def _labels(self, labels: Sequence[str]) -> list[str]:
        """Return labels as Jira takes them: it knows none with a blank."""
        if any(has_blank(label) for label in labels):
            raise PermanentFault(
                "label-with-blank",
                "A label has a blank, which Jira does not take.",
                setting="alias.labels",
                mend="Rename the label, with a hyphen for the blank.",
            )
        return list(labels)

    def _comment(self, text: str, *properties: Json) -> dict[str, Json]:
        """Return a comment as Jira takes it; an update names the restriction again, to keep it."""
        visibility = self._visibility()
        internal = {"key": SERVICE_DESK, "value": {"internal": True}}
        given = [*properties, *([internal] if self.wishes.service_desk else [])]
        return {
            "body": self.dialect.sent(text),
            **({"visibility": visibility} if visibility else {}),
            **({"properties": given} if given else {}),
        }

    def _visibility(self) -> dict[str, str] | None:
        if self.wishes.comment_role:
            return {"type": "role", "value": self.wishes.comment_role}
        if self.wishes.comment_group:
            return {"type": "group", "value": self.wishes.comment_group}
        return None

    async def _describe(self, what: str, ref: IssueRef, text: str) -> None:
        body = {"fields": {"description": self.dialect.sent(text)}}
        await self.door.put(what, issue_path(ref.id), body)

    async def _transition(self, ref: IssueRef, *, is_open: bool) -> bool:
        """Go to a status that is done, or to one that is not; return False where none leads there.

        An issue that is there already stays.
        """
        if (await self.read_issue(ref)).open is is_open:
            return True
        path = f"{issue_path(ref.id)}/transitions"
        ways = answers.items(await self.door.get("read transitions", path), "transitions")
        wanted = self.wishes.reopened_transition if is_open else self.wishes.closed_transition
        way = next((way for way in ways if _leads(way, wanted, is_open=is_open)), None)
        if way is None:
            return False
        body = {"transition": {"id": answers.text(way, "id")}}
        await self.door.post("reopen issue" if is_open else "close issue", path, body)
        return True

    async def _linked(self, ref: IssueRef) -> frozenset[str]:
        answer = await self.door.get("read links", issue_path(ref.id), fields="issuelinks")
        fields = answers.part(answers.as_object(answer), "fields")
        ends = [
            answers.part(link, end)
            for link in answers.items(fields, "issuelinks")
            for end in ("inwardIssue", "outwardIssue")
        ]
        return frozenset(answers.text(end, "id") for end in ends)

    # ── Files ─────────────────────────────────────────────────────────────────────────────────────

    async def _names_of_files(self, ref: IssueRef) -> frozenset[str]:
        answer = await self.door.get("read files", issue_path(ref.id), fields="attachment")
        fields = answers.part(answers.as_object(answer), "fields")
        return frozenset(
            answers.text(item, "filename") for item in answers.items(fields, "attachment")
        )

    def _whole(self, draft: IssueDraft | CommentDraft) -> str | None:
        """Return the whole text of a draft that is longer than Jira takes, else None."""
        if isinstance(draft, IssueDraft):
            text = self.dialect.told_issue(draft, limit=_NO_LIMIT)
        else:
            text = self.dialect.told_comment(draft, limit=_NO_LIMIT)
        return files.whole_text(draft) if utf16_units(text) > TEXT_LIMIT else None

    # ── People ────────────────────────────────────────────────────────────────────────────────────

    async def _people(self, names: Sequence[str]) -> Sequence[Account]:
        """Return who can be assigned; when nobody can, the account that steps in."""
        known = [account for name in names if (account := await self.people.assignable(name))]
        instead = self.wishes.fallback_assignee
        if not known and instead and (account := await self.people.assignable(instead)):
            return (account,)
        return known

    def _person(self, account: Account) -> dict[str, str]:
        return {"accountId" if self.door.is_cloud else "name": account.id}

    def _unassigned(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say who should have the issue and does not; Jira assigns to one, the others are named."""
        have = {name.casefold() for name in seen.assignees}
        wanted = [name.removeprefix("@") for name in draft.assignees]
        missing = [name for name in wanted if name.casefold() not in have]
        unknown = [name for name in missing if not self.people.was_found(name)]
        if unknown or (wanted and not have):
            maillog.not_assigned(draft.case_id, self.name, seen.ref.number, missing)
        if not missing:
            return ()
        names = ", ".join(missing)
        return (Paragraph(f"Not assigned, though the alias asks for it: {names}."),)

    def _unset(self, draft: IssueDraft, seen: Seen[str]) -> Sequence[Paragraph]:
        """Say which fields Jira did not take, and that an issue could not be reopened."""
        notes = self._not_taken(draft, seen.facts) if isinstance(seen, SeenIssue) else {}
        if notes:
            maillog.not_as_asked(draft.case_id, self.name, seen.ref.number, list(notes))
        if seen.ref.id in self._stuck:
            notes["state"] = "Not dealt with: it is closed, and nothing here can reopen it."
        return [Paragraph(text) for text in notes.values()]

    def _not_taken(self, draft: IssueDraft, facts: Facts) -> dict[str, str]:
        """Return what to say of each field that is not as it was asked for."""
        day, priority, notes = draft.due, self.wishes.priority, {}
        if facts.due != day:
            notes["due date"] = f"Due on {day.isoformat()}, which Jira did not take."
        if priority and facts.priority != priority:
            notes["priority"] = f"Its priority is {priority}, which Jira did not take."
        return notes

    # ── What this process has made ────────────────────────────────────────────────────────────────

    def _remember(self, marker: str, ref: IssueRef) -> None:
        if len(self._made) >= _REMEMBERED:
            self._made.pop(next(iter(self._made)))
        self._made[marker] = ref

    def _has_made(self, ref: IssueRef) -> bool:
        return any(made.id == ref.id for made in self._made.values())

    def _forget(self, ref: IssueRef) -> None:
        self._made = {marker: made for marker, made in self._made.items() if made.id != ref.id}
        self._stuck.discard(ref.id)


def state(seen: SeenIssue) -> IssueState:
    """Return what a tracker tells of an issue."""
    return IssueState(
        seen.ref, seen.confidential, seen.open, seen.labels, seen.assignees, seen.facts.due
    )


def has_blank(label: str) -> bool:
    """Whether Jira would not take a label."""
    return any(character.isspace() for character in label)


def _leads(way: Mapping[str, Json], wanted: str, *, is_open: bool) -> bool:
    """Whether a transition is the configured one, or leads where one wants to go."""
    if wanted:
        return answers.text(way, "name").casefold() == wanted.casefold()
    key = answers.text(answers.part(answers.part(way, "to"), "statusCategory"), "key")
    return bool(key) and (key != "done") is is_open


def _comment_path(ref: CommentRef) -> str:
    return f"{issue_path(ref.issue.id)}/comment/{segment(ref.id)}"


def _beside(uploaded: Sequence[DraftAttachment]) -> tuple[Paragraph, ...]:
    """Say which files stand beside the issue, by their names: Jira itself lists them."""
    if not uploaded:
        return ()
    names = ", ".join(file.name for file in uploaded[:_LISTED])
    more = f", and {len(uploaded) - _LISTED} more" if len(uploaded) > _LISTED else ""
    return (Paragraph(f"Files beside this issue: {names}{more}."),)
