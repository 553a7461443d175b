"""How does a report become an issue text in which nothing acts?  In blocks, then in a dialect.

``report`` decides what is said, and ``words`` how a verdict is put; a dialect (``markdown``,
``plain``) decides how it looks; ``untrusted`` makes a stranger's text fit to be shown.
"""

from secbridge.rules.drafting.report import (
    draft_comment,
    draft_copy,
    draft_farewell,
    draft_mentioned,
    draft_remark,
    draft_report,
)

__all__ = [
    "draft_comment",
    "draft_copy",
    "draft_farewell",
    "draft_mentioned",
    "draft_remark",
    "draft_report",
]
