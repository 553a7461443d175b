"""What do we tell a tracker?  Drafts in blocks; each dialect renders them so that nothing acts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from secbridge.model.case import IssueRef


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A sentence of our own; holds nothing that a mail said."""

    text: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of our own."""

    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Name and value pairs of our own making: ids, times, verdicts in words."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, repr=False)
class Untrusted:
    """Text of a stranger; it reaches a tracker only inside a fence that it cannot interpret.

    ``file`` is the neutral name of the attachment whose content this shows, or "".
    """

    text: str
    label: str = ""
    folded: bool = False
    file: str = ""

    def __repr__(self) -> str:
        return f"Untrusted({len(self.text)} characters)"


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Files beside an issue: (neutral name of ours, address that the tracker gave it).

    The one place where a text of ours holds links.  A dialect shows only the name of a file whose
    address is not of the plain form that it expects.
    """

    rows: tuple[tuple[str, str], ...]


Block = Paragraph | Heading | Facts | FileLinks | Untrusted

Note = Paragraph | FileLinks
"""What an adapter has to say above the report: of people, of files."""


@dataclass(frozen=True, slots=True, repr=False)
class DraftAttachment:
    """A file for the issue, under a neutral name of ours (``SB-2026-0001-1.bin``)."""

    name: str
    media_type: str
    content: bytes

    def __repr__(self) -> str:
        return f"DraftAttachment({len(self.content)} bytes)"


@dataclass(frozen=True, slots=True, repr=False)
class IssueDraft:
    """An issue to be: title and header come first, the report once it is proven secret.

    ``header`` therefore holds nothing that the mail said, not even who wrote it; ``raw_command``
    is what an operator types to get the whole mail, named where a tracker cannot hold all of it,
    and ``files_command`` what gives the attachments.  ``name`` is the neutral name, without suffix,
    of the file that holds the whole text where the tracker cannot.
    """

    case_id: str
    title: str
    header: tuple[Block, ...]
    report: tuple[Block, ...]
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    due: date
    attachments: tuple[DraftAttachment, ...] = ()
    raw_command: str = ""
    files_command: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return f"IssueDraft({self.case_id})"


@dataclass(frozen=True, slots=True, repr=False)
class CommentDraft:
    """A comment to be; ``internal``: for the team alone, where the tracker knows such a thing.

    The commands and ``name`` are those of ``IssueDraft``.
    """

    case_id: str
    blocks: tuple[Block, ...]
    internal: bool = True
    attachments: tuple[DraftAttachment, ...] = ()
    raw_command: str = ""
    files_command: str = ""
    name: str = ""

    def __repr__(self) -> str:
        return f"CommentDraft({self.case_id})"


@dataclass(frozen=True, slots=True)
class IssueChange:
    """What to change on an issue; None leaves a thing as it is."""

    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] | None = None
    due: date | None = None
    open: bool | None = None


class Severity(StrEnum):
    """How bad a finding of ``check()`` is: an error refuses to file, a warning is told."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer to "can this keep a secret, and does it work?", with its mend in our words.

    ``passing``: it only says that somebody is away for now, so it refuses nothing by itself.
    """

    subject: str
    severity: Severity
    text: str
    mend: str = ""
    setting: str = ""
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something in a tracker: the account's stable id there, and its name for people.

    ``is_us``: it is the very account that secbridge uses, or another machine of the tracker's own.
    ``account`` is what assignees are called there, and in the roster; "" where that is ``name``.
    """

    id: str
    name: str
    is_us: bool = False
    account: str = ""


@dataclass(frozen=True, slots=True)
class IssueState:
    """An issue as the tracker shows it now; ``ref`` is where it is by now, after any move."""

    ref: IssueRef
    confidential: bool
    open: bool
    labels: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    due: date | None = None


class Standing(StrEnum):
    """Whether an issue keeps its secret.  ``gone``: our account does not see it any more."""

    KEPT = "kept"
    EXPOSED = "exposed"
    GONE = "gone"


@dataclass(frozen=True, slots=True, repr=False)
class CommentWritten:
    """A person wrote a comment.  ``text`` as it was written, in the tracker's own dialect.

    ``key`` names the comment, not its versions: an edited comment comes again under the same key.
    ``public``: the tracker itself shows it to outsiders (a customer of a service desk).
    """

    key: str
    issue: IssueRef
    author: Actor
    at: datetime
    text: str
    comment_id: str
    public: bool = False

    def __repr__(self) -> str:
        return f"CommentWritten({self.key})"


@dataclass(frozen=True, slots=True, repr=False)
class Remark:
    """A comment that is to be told elsewhere; ``marker`` names it in every tracker."""

    marker: str
    author: Actor
    at: datetime
    text: str

    def __repr__(self) -> str:
        return f"Remark({self.marker})"


@dataclass(frozen=True, slots=True)
class IssueChanged:
    """An issue changed in whatever way; ``key`` names this state of it."""

    key: str
    issue: IssueRef
    at: datetime
    state: IssueState


TrackerEvent = CommentWritten | IssueChanged
