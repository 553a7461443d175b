"""What is the team told when a machine kept silent though it would have written?  That, and why."""

from __future__ import annotations

from secbridge.model.issue import CommentDraft, Facts, Paragraph
from secbridge.rules.drafting import words


def draft_unanswered(case_id: str, code: str, *, mark: str) -> CommentDraft:
    """Say that a budget kept the acknowledgement here, and how the reporter hears of us now."""
    return CommentDraft(
        case_id,
        (
            Paragraph(f"Nobody was answered by machine. {words.refusal(code)}"),
            Facts(
                (
                    (
                        "In a comment here",
                        f"{mark} reply, with a text below it, answers all the same",
                    ),
                    ("The budgets", "they stand in the configuration, in [answers]"),
                )
            ),
        ),
    )


def draft_not_asked(case_id: str, code: str) -> CommentDraft:
    """Say that the reporter, who wrote in clear in an encrypted thread, does not hear of it."""
    told = "The reporter wrote in clear, and was not asked by machine to encrypt."
    return CommentDraft(case_id, (Paragraph(f"{told} {words.refusal(code)}"),))
