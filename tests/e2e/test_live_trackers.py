"""Do the adapters hold before the real thing?  Tried by hand, where somebody has a project for it.

``SECBRIDGE_LIVE_GITLAB`` (``_GITHUB``, ``_JIRA``) names a TOML file::

    project = "group/scratch"       # a project that nobody needs
    labels = ["Security"]
    token_file = "/path/to/token"   # and the other options of [trackers.NAME]

Each run leaves one closed issue behind, with a made-up report in it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from secbridge.model.issue import IssueChange, IssueDraft, Severity
from secbridge.ports import EffectKey, Tracker
from secbridge.testing import HeldClock, a_context
from secbridge.testing.drafts import a_message, comment_draft, new_key, report_draft
from secbridge.trackers import registry

LIVE = {f"SECBRIDGE_LIVE_{kind.upper()}": kind for kind in ("gitlab", "github", "jira")}


class Live:
    """A real project, as its file describes it."""

    def __init__(self, kind: str, file: Path) -> None:
        options = tomllib.loads(file.read_text(encoding="utf-8"))
        self.project: str = options.pop("project")
        self.labels: tuple[str, ...] = tuple(options.pop("labels", ["Security"]))
        self.clock = HeldClock()
        token = Path(options["token_file"]).read_text(encoding="utf-8").strip()
        context = a_context(self.clock, name="live", secrets={"token": token})
        context = replace(context, labels=self.labels, assignees=())
        plugin = registry.plugin(kind)
        self.tracker: Tracker = plugin.create(
            context, plugin.settings_model(**options), self.project
        )

    def draft(self) -> IssueDraft:
        """Return a made-up report for nobody."""
        draft = report_draft(SimpleNamespace(project=self.project), a_message(text="A live test."))
        return replace(draft, labels=self.labels, assignees=())


@pytest.fixture(params=sorted(LIVE))
async def live(request: pytest.FixtureRequest) -> AsyncIterator[Live]:
    """Return each real project that the environment names."""
    if request.param not in os.environ:
        pytest.skip(f"live test: set {request.param} to a file that describes a project")
    live = Live(LIVE[request.param], Path(os.environ[request.param]))
    yield live
    await live.tracker.aclose()


async def test_a_report_is_filed_told_followed_and_closed(live: Live) -> None:
    """The whole life of an issue: checked, made once, secret, commented on once, closed."""
    findings = await live.tracker.check()
    assert [one for one in findings if one.severity is Severity.ERROR] == []
    _, cursor = await live.tracker.events(None)
    key, draft = new_key(), live.draft()
    ref = await live.tracker.ensure_issue(key, draft)
    try:
        assert (await live.tracker.look(ref)).confidential
        again = EffectKey(key.marker, attempted_at=live.clock.now())
        assert ref == await live.tracker.ensure_issue(again, draft)
        comment, note = comment_draft(live, a_message(text="More.")), new_key()
        first = await live.tracker.ensure_comment(ref, note, comment)
        again = EffectKey(note.marker, attempted_at=live.clock.now() + timedelta(seconds=1))
        assert first == await live.tracker.ensure_comment(ref, again, comment)
        await live.tracker.events(cursor)
    finally:
        await live.tracker.update(ref, IssueChange(open=False))
    assert not (await live.tracker.look(ref)).open
