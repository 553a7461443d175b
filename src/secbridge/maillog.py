"""What does the log say?  One function for each event: the vocabulary of the log.

An event is told with ids, codes, fingerprints, sizes and milliseconds; never with a subject, a
body, a reporter's address, a file name, a token or the text of a library's exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

_log: Any = structlog.get_logger("secbridge")


def started(version: str, listeners: Sequence[str], aliases: int, took_ms: int) -> None:
    """Tell that the daemon takes mail now."""
    _log.info(
        "daemon.started", version=version, listeners=list(listeners), aliases=aliases, ms=took_ms
    )


def stopping(signal: str) -> None:
    """Tell that the daemon finishes the rooms in use and ends."""
    _log.info("daemon.stopping", signal=signal)


def stopped() -> None:
    """Tell that the daemon ended in order."""
    _log.info("daemon.stopped")


def accepted(deliveries: Sequence[str], size: int, peer: str, took_ms: int) -> None:
    """Tell that a mail is ours: its commit is done."""
    _log.info("delivery.accepted", deliveries=list(deliveries), size=size, peer=peer, ms=took_ms)


def refused(status: str, reason: str, peer: str) -> None:
    """Tell that a client got 4yz or 5yz."""
    _log.info("intake.refused", status=status, reason=reason, peer=peer)


def opened(delivery: str, protection: str, layers: int, took_ms: int) -> None:
    """Tell that a mail was opened as far as we can."""
    _log.info(
        "delivery.opened", delivery=delivery, protection=protection, layers=layers, ms=took_ms
    )


def overtook(delivery: str, other: str) -> None:
    """Tell that a mail goes on with another one, and waits until that is in its case."""
    _log.info("delivery.overtook", delivery=delivery, other=other)


def judged(delivery: str, mail_class: str, reasons: Sequence[str], took_ms: int) -> None:
    """Tell the class of a mail and the rules that spoke."""
    _log.info(
        "delivery.judged",
        delivery=delivery,
        mail_class=mail_class,
        reasons=list(reasons),
        ms=took_ms,
    )


def routed(delivery: str, tracker: str, project: str, took_ms: int) -> None:
    """Tell where a case goes."""
    _log.info("delivery.routed", delivery=delivery, tracker=tracker, project=project, ms=took_ms)


def filed(delivery: str, case: str, tracker: str, issue: str, took_ms: int) -> None:
    """Tell that the issue exists, confidential, and holds the report."""
    _log.info("case.filed", delivery=delivery, case=case, tracker=tracker, issue=issue, ms=took_ms)


def commented(delivery: str, case: str, took_ms: int) -> None:
    """Tell that a mail joined its case."""
    _log.info("case.commented", delivery=delivery, case=case, ms=took_ms)


def reopened(delivery: str, case: str) -> None:
    """Tell that a mail of the reporter opened a closed issue again."""
    _log.info("case.reopened", delivery=delivery, case=case)


def not_linked(case: str, earlier: str, why: str) -> None:
    """Tell that the issue of an earlier case took neither link nor comment."""
    _log.warning("case.not_linked", case=case, earlier=earlier, why=why)


def not_reopened(delivery: str, case: str, why: str) -> None:
    """Tell, with an alarm, that the tracker does not let us reopen an issue."""
    _log.error("case.not_reopened", delivery=delivery, case=case, why=why, alarm=True)


def commanded(case: str, command: str, outcome: str, took_ms: int) -> None:
    """Tell that a command of the team has its outcome."""
    _log.info("case.commanded", case=case, command=command, outcome=outcome, ms=took_ms)


def said(case: str, kind: str, *, encrypted: bool, waits: bool) -> None:
    """Tell that a letter of the team is on its way; ``waits``: the case is on hold."""
    _log.info("case.said", case=case, kind=kind, encrypted=encrypted, waits=waits)


def announced(case: str, members: int) -> None:
    """Tell to how many of the team a mail says who handles a case."""
    _log.info("case.announced", case=case, members=members)


def unanswered(case: str, outcome: str, why: str) -> None:
    """Tell that a command was done, and its issue takes no answer."""
    _log.error("case.unanswered", case=case, outcome=outcome, why=why, alarm=True)


def not_adopted(tracker: str, issue: str, why: str) -> None:
    """Tell that a command stands on an issue that is no case and cannot be one."""
    _log.warning("issue.not_adopted", tracker=tracker, issue=issue, why=why)


def set_aside(delivery: str, why: str) -> None:
    """Tell that a mail waits for an operator's look."""
    _log.info("delivery.set_aside", delivery=delivery, why=why)


def answered(delivery: str, case: str, kinds: Sequence[str], took_ms: int) -> None:
    """Tell that answers are built and stored."""
    _log.info("case.answered", delivery=delivery, case=case, kinds=list(kinds), ms=took_ms)


def held(delivery: str, case: str, why: str, kinds: Sequence[str], took_ms: int) -> None:
    """Tell that the acknowledgement waits for a key, and which notices leave meanwhile."""
    _log.warning(
        "case.answer_held", delivery=delivery, case=case, why=why, kinds=list(kinds), ms=took_ms
    )


def told(delivery: str, case: str, news: str) -> None:
    """Tell that the issue was told something about a key or an answer."""
    _log.info("case.told", delivery=delivery, case=case, news=news)


def withheld(delivery: str, case: str | None, why: str) -> None:
    """Tell that no answer is sent, and why."""
    _log.info("case.answer_withheld", delivery=delivery, case=case, why=why)


def over_budget(delivery: str, case: str, why: str) -> None:
    """Tell, with an alarm, that a mail is filed and not answered: too many answers went out."""
    _log.error("case.over_budget", delivery=delivery, case=case, why=why, alarm=True)


def done(delivery: str) -> None:
    """Tell that nothing is left to do for a delivery."""
    _log.info("delivery.done", delivery=delivery)


def sent(outgoing: int, case: str, kind: str, status: str, took_ms: int) -> None:
    """Tell that the relay took a mail of ours."""
    _log.info("mail.sent", outgoing=outgoing, case=case, kind=kind, status=status, ms=took_ms)


def outdated(outgoing: int, case: str, kind: str, why: str) -> None:
    """Tell that an answer is built anew: what it rested on changed before it left."""
    _log.warning("mail.outdated", outgoing=outgoing, case=case, kind=kind, why=why)


def send_refused(outgoing: int, case: str, kind: str, status: str) -> None:
    """Tell that a mail of ours will not go, and raise an alarm."""
    _log.error("mail.refused", outgoing=outgoing, case=case, kind=kind, status=status, alarm=True)


def trouble_told(outgoing: int, case: str, tracker: str, issue: str) -> None:
    """Tell that the issue of a case knows of a mail that will not leave."""
    _log.info("mail.trouble-told", outgoing=outgoing, case=case, tracker=tracker, issue=issue)


def deferred(subject: str, why: str, seconds: int, *, alarm: bool) -> None:
    """Tell that something waits; with an alarm when a person has to mend it."""
    write = _log.error if alarm else _log.warning
    write("deferred", subject=subject, why=why, seconds=seconds, alarm=alarm)


def quarantined(delivery: str, why: str) -> None:
    """Tell, with an alarm, that a human must look."""
    _log.error("delivery.quarantined", delivery=delivery, why=why, alarm=True)


def finding(subject: str, text: str, *, alarm: bool, setting: str = "", mend: str = "") -> None:
    """Tell what ``secbridge check`` would tell of a part of the house, in our own words."""
    write = _log.error if alarm else _log.warning
    more = {name: said for name, said in (("setting", setting), ("mend", mend)) if said}
    write("check.finding", subject=subject, text=text, alarm=alarm, **more)


def purged(mails: int) -> None:
    """Tell that the raw bytes of finished mails went after their retention time."""
    _log.info("store.purged", mails=mails)


def fault(where: str, kind: str, **facts: str | int) -> None:
    """Tell, with an alarm, of a fault of ours: the class of an exception, never its text."""
    _log.error("fault", where=where, kind=kind, alarm=True, **facts)


# ── Processes that open mails ────────────────────────────────────────────────────────────────────


def opener_started(*, closed_off: bool, took_ms: int) -> None:
    """Tell that processes are there; ``closed_off``: the kernel filters their system calls."""
    write = _log.info if closed_off else _log.warning
    write("opener.started", closed_off=closed_off, ms=took_ms)


def opener_died(why: str, size: int, took_ms: int, *, signal: int, kind: str, alarm: bool) -> None:
    """Tell that a process ended over a mail of this size: by our bounds, a signal, or a fault.

    ``signal`` is 0 and ``kind`` empty where there is none; without a bound of ours as its cause it
    wants a person (``alarm``).
    """
    write = _log.error if alarm else _log.warning
    write("opener.died", why=why, size=size, ms=took_ms, signal=signal, kind=kind, alarm=alarm)


# ── Trackers ─────────────────────────────────────────────────────────────────────────────────────


def reconciled(case: str, tracker: str, issue: str) -> None:
    """Tell that an earlier attempt with an unknown outcome had made the issue."""
    _log.info("tracker.reconciled", case=case, tracker=tracker, issue=issue)


def duplicate_closed(case: str, tracker: str, issue: str) -> None:
    """Tell, with an alarm, that a case had a second issue, which is closed now."""
    _log.error("tracker.duplicate_closed", case=case, tracker=tracker, issue=issue, alarm=True)


def not_confidential(case: str, tracker: str, issue: str, missing: Sequence[str]) -> None:
    """Tell, with an alarm, that an issue cannot be kept secret; it holds nothing of the report."""
    _log.error(
        "tracker.not_confidential",
        case=case,
        tracker=tracker,
        issue=issue,
        missing=list(missing),
        alarm=True,
    )


def project_mended(tracker: str, project: str) -> None:
    """Tell that a project which was refused can keep a secret again."""
    _log.info("tracker.project_mended", tracker=tracker, project=project)


def filed_in_fallback(case: str, tracker: str, project: str, why: str) -> None:
    """Tell, with an alarm, that a report is in the embedded tracker since its own is refused."""
    _log.error(
        "case.filed_in_fallback", case=case, tracker=tracker, project=project, why=why, alarm=True
    )


def moved_home(case: str, tracker: str, issue: str, took_ms: int) -> None:
    """Tell that an issue left the embedded tracker for the one of its route."""
    _log.info("case.moved_home", case=case, tracker=tracker, issue=issue, ms=took_ms)


def issue_standing(case: str, tracker: str, issue: str, standing: str, *, alarm: bool) -> None:
    """Tell that an open issue is exposed or gone, with an alarm, or that it is secret again."""
    write = _log.error if alarm else _log.info
    write(
        "tracker.issue_standing",
        case=case,
        tracker=tracker,
        issue=issue,
        standing=standing,
        alarm=alarm,
    )


def interpreted(case: str, tracker: str, issue: str) -> None:
    """Tell, with an alarm, that a tracker shows another text than it was told."""
    _log.error("tracker.interpreted", case=case, tracker=tracker, issue=issue, alarm=True)


def not_assigned(case: str, tracker: str, issue: str, accounts: Sequence[str]) -> None:
    """Tell, with an alarm, which configured accounts an issue could not be assigned to."""
    _log.error(
        "tracker.not_assigned",
        case=case,
        tracker=tracker,
        issue=issue,
        accounts=list(accounts),
        alarm=True,
    )


def not_as_asked(case: str, tracker: str, issue: str, what: Sequence[str]) -> None:
    """Tell what of an issue the tracker did not take: its type, severity or due date."""
    _log.warning("tracker.not_as_asked", case=case, tracker=tracker, issue=issue, what=list(what))


def out_of_sight(tracker: str, issue: str) -> None:
    """Tell, with an alarm, that an issue was moved to where our account cannot read it."""
    _log.error("tracker.out_of_sight", tracker=tracker, issue=issue, alarm=True)


def no_transition(tracker: str, issue: str, wanted: str) -> None:
    """Tell, with an alarm, that a workflow has no way to close or reopen an issue."""
    _log.error("tracker.no_transition", tracker=tracker, issue=issue, wanted=wanted, alarm=True)


def tracker_failed(
    tracker: str, request: str, code: str, *, kind: str, status: int, request_id: str, mend: str
) -> None:
    """Tell how a request to a tracker failed: the class of the exception, never its text."""
    _log.warning(
        "tracker.failed",
        tracker=tracker,
        request=request,
        code=code,
        kind=kind,
        status=status,
        request_id=request_id,
        mend=mend,
    )


# ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────


def hinted(tracker: str, outcome: str, took_ms: int) -> None:
    """Tell that a tracker's webhook was proven: it made us look, or was late or a repeated one."""
    _log.info("web.hinted", tracker=tracker, outcome=outcome, ms=took_ms)


def not_let_in(reason: str, peer: str) -> None:
    """Tell that a request to the webhooks proved nothing, and so got nothing."""
    _log.warning("web.refused", reason=reason, peer=peer)


def looked_up(source: str, outcome: str, detail: str, took_ms: int) -> None:
    """Tell that a key directory was asked, and what came of it; never for whom, nor where."""
    _log.info("lookup.asked", source=source, outcome=outcome, detail=detail, ms=took_ms)


def gpg_failed(code: str, said: Sequence[str]) -> None:
    """Tell of a fault of ours in OpenPGP, by the keywords of gpg's status and nothing more."""
    _log.warning("openpgp.fault", code=code, said=list(said))
