"""How are texts written for a Jira?  As documents in the cloud, in wiki markup elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from secbridge.model.issue import CommentDraft, IssueDraft, Note
from secbridge.rules.drafting import adf, wiki
from secbridge.trackers.jira_door import Deployment


class Dialect(Protocol):
    """What ``adf`` and ``wiki`` have in common; a text is in the dialect's normal form."""

    def untold_issue(self, draft: IssueDraft) -> str:
        """Return what an issue says before it is proven confidential."""
        ...

    def told_issue(self, draft: IssueDraft, *, limit: int, notes: Sequence[Note] = ()) -> str:
        """Return the whole text of an issue."""
        ...

    def untold_comment(self) -> str:
        """Return what a comment says before it is proven internal."""
        ...

    def told_comment(self, draft: CommentDraft, *, limit: int) -> str:
        """Return the whole text of a comment."""
        ...

    def is_told_issue(self, text: str) -> bool:
        """Whether a text holds the report."""
        ...

    def is_untold_comment(self, text: str) -> bool:
        """Whether a text is still that of ``untold_comment``."""
        ...

    def sent(self, text: str) -> object:
        """Return a text as Jira takes it."""
        ...

    def received(self, value: object) -> str:
        """Return a text of Jira's answer, in the normal form."""
        ...

    def words(self, value: object) -> str:
        """Return what people wrote."""
        ...


def dialect_of(deployment: Deployment) -> Dialect:
    """Return the dialect of a Jira."""
    match deployment:
        case Deployment.CLOUD:
            return adf
        case Deployment.DATA_CENTER:
            return wiki
        case _:
            assert_never(deployment)
