"""What is the team told of a reporter's key?  Why an answer waits, what is wrong, what to type.

Everything here is for the team alone and holds our own words, codes and fingerprints: nothing of a
mail and no address.  Each comment is made once for its reason.
"""

from __future__ import annotations

from secbridge.model.issue import CommentDraft, Facts, Paragraph
from secbridge.rules import clinic
from secbridge.rules.drafting import words
from secbridge.rules.replies import Answer, KeyChanged, KeyFound, KeyProblem, KeySearch

_ASK = (
    "Whoever can write under the reporter's address could have sent it. Ask the reporter by other "
    "means, by telephone for instance, and compare the fingerprint. If it is right:"
)


def draft_held(case_id: str, why: str, key: KeySearch, notice: Answer | None) -> CommentDraft:
    """Say that the acknowledgement waits for a key: why, what went out meanwhile, what ends it."""
    rows = [("Acknowledgement", "held"), ("Because", words.held(why))]
    if isinstance(key, KeyProblem):
        rows += _problem(key.code, key.fingerprint)
    rows.append(("Sent meanwhile", _said(notice)))
    return CommentDraft(
        case_id,
        (
            Paragraph("The acknowledgement could not be encrypted, so it is held."),
            Facts(tuple(rows)),
            Paragraph("It goes out by itself as soon as there is a key that can be used:"),
            Facts(
                (
                    ("The reporter", "answers with the key attached"),
                    ("An operator", f"secbridge key import FILE --case {case_id}"),
                )
            ),
        ),
    )


def draft_key_change(
    case_id: str, change: KeyChanged, notice: Answer | None, *, held: bool, mark: str
) -> CommentDraft:
    """Ask the team whether another key is the reporter's: both keys, what speaks for it, how."""
    return CommentDraft(
        case_id,
        (
            Paragraph(
                "Another key came for the reporter. Nothing is sent to it until somebody of the "
                "team says that it is the reporter's."
            ),
            Facts(tuple(_change(change, notice, held=held))),
            Paragraph(_ASK),
            Facts(
                (
                    ("In a comment here", f"{mark} key accept {change.offered}"),
                    (
                        "Or an operator",
                        f"secbridge key accept {change.offered} --case {case_id}",
                    ),
                )
            ),
            Paragraph("If it is not, do nothing: it is never used."),
        ),
    )


def draft_answered(case_id: str, key: KeySearch, *, late: bool) -> CommentDraft:
    """Say that the acknowledgement goes out, to which key, and what is wrong with a key that works.

    ``late``: it did not go out when the mail was filed.
    """
    rows = [("Acknowledgement", "goes out now" if late else "goes out")]
    if not isinstance(key, KeyFound):
        rows.append(("Encrypted to", "nobody: no mail of this thread was encrypted"))
        return CommentDraft(case_id, (Facts(tuple(rows)),))
    rows.append(("Encrypted to", words.fingerprint(key.fingerprint)))
    rows.append(("This key came", words.source(key.source)))
    for code in key.warnings:
        rows.append(("What is wrong with it", f"{words.key_warning(code)} ({code})"))
        rows.append(("What its owner is told", clinic.WARNING_MENDS.get(code, "nothing")))
    text = "The reporter's key can be used, and should be mended; the acknowledgement says so."
    warned = (Paragraph(text),) if key.warnings else ()
    return CommentDraft(case_id, (*warned, Facts(tuple(rows))))


def _change(change: KeyChanged, notice: Answer | None, *, held: bool) -> list[tuple[str, str]]:
    if change.bound is None:
        rows = [("Key until now", "none; this one came with another mail under that address")]
    else:
        rows = [("Key until now", words.fingerprint(change.bound))]
    if change.code is not None:
        rows += _problem(change.code, "")
    rows += [
        ("New key", words.fingerprint(change.offered)),
        ("It came", words.source(change.source)),
        ("Signed with the key until now", words.endorsement(change.endorsement)),
        ("Acknowledgement", "held until then" if held else "went out before"),
        ("Sent meanwhile", _said(notice)),
    ]
    return rows


def _problem(code: str, fingerprint: str) -> list[tuple[str, str]]:
    """Return what is wrong with a key and what its owner has to do; the owner is "you" there."""
    named = [("Key", words.fingerprint(fingerprint))] if fingerprint else []
    if code not in clinic.PROBLEMS:
        return [*named, ("What is wrong", code)]
    return [
        *named,
        ("What is wrong", f"{words.key_problem(code)} ({code})"),
        ("What its owner has to do", clinic.MENDS[code]),
    ]


def _said(notice: Answer | None) -> str:
    """Say which fixed notice leaves now, in clear and without a word of the mail."""
    return "nothing" if notice is None else words.notice(notice.kind)
