"""Is a report safe and seen while its project keeps no secret, and does all of it come home?"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_gitlab import FakeGitLab
from tests.support.guarded import Installation, gitlab_config, installation
from tests.support.keys import Keys, Ring
from tests.support.reports import CANARY, plain_report
from tests.support.stores import StillClock
from tests.support.trackers import log_lines

from secbridge.cli.checks import check_everything
from secbridge.house import build_steps
from secbridge.model.case import CaseStatus
from secbridge.model.delivery import State
from secbridge.model.issue import Finding, IssueChange, Severity
from secbridge.pipeline.returning import SETTLED
from secbridge.store import Store
from secbridge.trackers.door import Door
from secbridge.trackers.local import write_comment
from secbridge.trackers.registry import Sealer

FOLLOW_UP = "Kohlrabi: one more thing about it.\n"


@pytest.fixture(scope="module")
def gitlab_server() -> Iterator[FakeGitLab]:
    """Return the fake GitLab of this page."""
    with FakeGitLab.start() as gitlab:
        yield gitlab


@pytest.fixture
def gitlab(gitlab_server: FakeGitLab) -> FakeGitLab:
    """Return the fake GitLab, empty, with an archived project."""
    gitlab_server.reset()
    gitlab_server.settings(archived=True)
    return gitlab_server


@pytest.fixture
def config(tmp_path: Path, gitlab: FakeGitLab, role_ring: Ring, keys: Keys) -> Path:
    """Return the configuration of an installation whose alias has a fallback."""
    home, alias = tmp_path / "home", 'fallback = "local"'
    return gitlab_config(home, gitlab, role_ring, keys.role_fpr, alias=alias)


@pytest.fixture
async def here(config: Path, keys: Keys) -> AsyncIterator[Installation]:
    """Return the installation."""
    async with installation(config, keys) as opened:
        yield opened


def a_mail(text: str = "") -> bytes:
    """Return a report in clear, or a follow-up with this text."""
    return (plain_report(text=text) if text else plain_report()).as_bytes()


async def filed(here: Installation) -> str:
    """Take a report as far as it goes, and return its delivery."""
    delivery = await here.receive(a_mail())
    await here.work()
    return delivery


async def followed_up(here: Installation, delivery: str, text: str = FOLLOW_UP) -> str:
    """Take a mail to the address of a case, and return its delivery."""
    token = (await here.case(delivery)).token
    second = await here.receive(a_mail(text), to="security+x@example.org", token=token)
    await here.work()
    return second


async def write(here: Installation, text: str, number: int = 1) -> None:
    """Let a person write a comment in the embedded tracker."""
    house, sealer = here.house, Sealer(here.house.openpgp, (here.role_key,))
    await write_comment(house.store, sealer, number, author="kim", text=text, clock=here.clock)


async def go_home(here: Installation, gitlab: FakeGitLab) -> None:
    """Mend the project, and let an hour pass."""
    gitlab.settings(archived=False)
    here.clock.advance(hours=1)
    await here.strike("guarding")
    await here.strike("returning")


# ── Meanwhile ────────────────────────────────────────────────────────────────────────────────────


async def test_a_report_is_filed_at_once_in_the_embedded_tracker(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """It waits for nobody, the reporter is answered, the team is alarmed, the project sees none."""
    with log_lines() as lines:
        delivery = await filed(here)
    assert (await here.delivery(delivery)).state is State.ANSWERED
    opened = await here.local()
    assert CANARY in opened.text
    assert "its own project cannot keep a secret now" in opened.text
    assert [] == gitlab.requests("create-issue")
    (told,) = [line for line in lines if line["event"] == "case.filed_in_fallback"]
    assert (True, "main", gitlab.project) == (told["alarm"], told["tracker"], told["project"])


async def test_the_case_knows_where_its_issue_is(here: Installation) -> None:
    """Its route still leads home, and what joins it goes where the issue is."""
    case = await here.case(await filed(here))
    assert case.issue is not None
    assert ("main", "local") == (case.route.tracker, case.issue.tracker)
    assert ("local", "security") == case.place


async def test_a_tracker_that_leaks_at_the_create_is_one_that_keeps_no_secret(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """The check found nothing, yet the issue did not become confidential: not a word went there."""
    gitlab.settings(archived=False)
    gitlab.fault("confidential-ignored", count=9)
    gitlab.fault("confidential-put-ignored", count=9)
    await filed(here)
    assert CANARY in (await here.local()).text
    (leaky,) = gitlab.issues()
    assert CANARY not in leaky["description"]
    assert "closed" == leaky["state"]


async def test_a_tracker_that_is_away_is_waited_for(here: Installation, gitlab: FakeGitLab) -> None:
    """The fallback is for one that cannot keep a secret, not for one that is restarted."""
    gitlab.settings(archived=False)
    gitlab.fault("503-before", count=100, on="any")
    delivery = await filed(here)
    assert (await here.delivery(delivery)).state is State.DEFERRED
    assert [] == await here.house.store.list_issues()


async def test_a_follow_up_joins_where_the_issue_is(here: Installation, gitlab: FakeGitLab) -> None:
    """While the issue is in the embedded tracker, so are its comments."""
    delivery = await filed(here)
    await followed_up(here, delivery)
    assert ["Kohlrabi" in one.text for one in (await here.local()).comments] == [True]


async def test_as_long_as_the_project_is_refused_nothing_moves(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """An hour later it is still archived: nothing is tried there, and nobody is alarmed twice."""
    await filed(here)
    here.clock.advance(hours=1)
    with log_lines() as lines:
        await here.strike("returning")
    assert [] == [line for line in lines if line["event"] == "deferred" and line["alarm"]]
    assert [] == gitlab.requests("create-issue")
    assert (await here.local()).issue.open


async def fallback_findings(here: Installation) -> list[Finding]:
    """Return what ``secbridge check`` says of the fallback."""
    findings = await check_everything(here.house.settings)
    return [finding for finding in findings if finding.subject == "fallback security@example.org"]


async def test_check_says_which_cases_are_away(here: Installation, gitlab: FakeGitLab) -> None:
    """That there is a fallback, which cases are in it, and how they get home."""
    (before,) = await fallback_findings(here)
    case = await here.case(await filed(here))
    (meanwhile,) = await fallback_findings(here)
    await go_home(here, gitlab)
    (after,) = await fallback_findings(here)
    assert [Severity.OK, Severity.WARNING, Severity.OK] == [
        one.severity for one in (before, meanwhile, after)
    ]
    assert f"1 case ({case.id})" in meanwhile.text
    assert meanwhile.mend


# ── Home ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_mended_project_gets_the_whole_issue(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Proven, told, with all comments in their order; the old issue is closed and says where."""
    delivery = await filed(here)
    await followed_up(here, delivery)
    await write(here, "Looks bad.\n/close\n@alex see above.")
    with log_lines() as lines:
        await go_home(here, gitlab)
    (issue,) = gitlab.issues()
    assert ("opened", True, ["Security"]) == (
        issue["state"],
        issue["confidential"],
        issue["labels"],
    )
    assert CANARY in issue["description"]
    assert "its own project cannot keep" not in issue["description"]
    mail, comment = [note["body"] for note in gitlab.notes(issue["iid"])]
    assert "Kohlrabi" in mail
    assert "Delivery" in mail
    assert "Looks bad." in comment
    assert "kim" in comment
    assert [] == gitlab.events()
    old = await here.local()
    assert not old.issue.open
    assert issue["web_url"] in old.comments[-1].text
    assert ["case.moved_home"] == [
        line["event"] for line in lines if line["event"] == "case.moved_home"
    ]


async def test_the_case_lives_at_home_from_then_on(here: Installation, gitlab: FakeGitLab) -> None:
    """The next mail joins the new issue, and the journal has the move."""
    delivery = await filed(here)
    await go_home(here, gitlab)
    await followed_up(here, delivery)
    (issue,) = gitlab.issues()
    assert ["Kohlrabi" in note["body"] for note in gitlab.notes(issue["iid"])] == [True]
    case = await here.case(delivery)
    assert case.issue is not None
    assert ("main", str(issue["iid"])) == (case.issue.tracker, case.issue.number)
    (moved,) = [facts for event, facts in await here.journal(case.id) if "moved" in event]
    assert ("main", str(issue["iid"])) == (moved["tracker"], moved["issue"])


async def test_an_issue_of_before_the_fallback_is_the_one_that_is_told(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """The create that leaked left an empty, closed issue: it is used, not doubled."""
    gitlab.settings(archived=False)
    gitlab.fault("confidential-ignored", count=1)
    gitlab.fault("confidential-put-ignored", count=1)
    await filed(here)
    await go_home(here, gitlab)
    (issue,) = gitlab.issues()
    assert ("opened", True) == (issue["state"], issue["confidential"])
    assert CANARY in issue["description"]


async def test_what_people_changed_comes_along(here: Installation, gitlab: FakeGitLab) -> None:
    """Closed, labelled and assigned in the embedded tracker, it is so at home."""
    await filed(here)
    change = IssueChange(add_labels=("confirmed",), assignees=("kim",), open=False)
    await here.house.store.change_issue(1, change, here.clock.now(), by="kim")
    await go_home(here, gitlab)
    (issue,) = gitlab.issues()
    assert ["Security", "confirmed"] == issue["labels"]
    assert ["kim"] == [person["username"] for person in issue["assignees"]]
    assert "closed" == issue["state"]


async def test_a_comment_that_came_late_is_copied_the_next_time(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """Somebody was typing while the issue moved: nothing of it is lost, and nothing comes twice."""
    await filed(here)
    await go_home(here, gitlab)
    await write(here, "I was typing this.")
    for _ in range(3):
        here.clock.advance(hours=1)
        await here.strike("returning")
    (issue,) = gitlab.issues()
    assert ["I was typing this." in note["body"] for note in gitlab.notes(issue["iid"])] == [True]
    assert not (await here.local()).issue.open


async def test_a_command_of_just_before_the_journey_is_done(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """At home it would be a copy by our own hand, and so no command of anybody."""
    delivery = await filed(here)
    await here.house.conversation.catch_up("local")
    await write(here, "sb: accept")
    await go_home(here, gitlab)
    assert CaseStatus.ACCEPTED is (await here.case(delivery)).status
    (issue,) = gitlab.issues()
    notes = [note["body"] for note in gitlab.notes(issue["iid"])]
    assert [True] == ["This goes to the reporter now." in note for note in notes if "goes" in note]


async def test_a_settled_move_is_forgotten(here: Installation, gitlab: FakeGitLab) -> None:
    """After a while nobody looks at the old issue any more."""
    await filed(here)
    await go_home(here, gitlab)
    assert 1 == len(await here.house.store.away_from_home("local"))
    here.clock.advance(seconds=SETTLED.total_seconds())
    await here.strike("returning")
    assert [] == await here.house.store.away_from_home("local")


async def test_without_the_raw_mail_the_text_comes_home(
    here: Installation, gitlab: FakeGitLab
) -> None:
    """A project that stays refused beyond the retention time gets what the embedded one showed."""
    delivery = await filed(here)
    for outgoing in await here.house.store.find_outgoing(delivery):
        await here.house.store.outgoing_sent(outgoing.id, "250 2.0.0")
    here.clock.advance(days=400)
    await here.strike("tidying")
    await go_home(here, gitlab)
    (issue,) = gitlab.issues()
    assert CANARY in issue["description"]
    assert "The raw mail went after its retention time." in issue["description"]


async def test_a_fallback_that_was_taken_away_leaves_the_issue_where_it_is(
    here: Installation, config: Path, keys: Keys, gitlab: FakeGitLab
) -> None:
    """Nothing breaks and nothing is lost, and ``check`` says how it goes on."""
    await filed(here)
    _take_away_the_fallback(config)
    async with installation(config, keys, clock=here.clock) as changed:
        await go_home(changed, gitlab)
        (finding,) = await fallback_findings(changed)
    assert [] == gitlab.issues()
    assert (await here.local()).issue.open
    assert (Severity.ERROR, "alias.fallback") == (finding.severity, finding.setting)


def _take_away_the_fallback(config: Path) -> None:
    config.write_text(config.read_text().replace('fallback = "local"', ""))


# ── A power cut at each point of the way ─────────────────────────────────────────────────────────

LASTING: list[tuple[type, str]] = [
    (Store, "begin_move"),
    (Store, "undo_begin"),
    (Store, "move_issue"),
    (Store, "settle_move"),
    (Store, "add_comment"),
    (Store, "change_issue"),
    (Door, "post"),
    (Door, "put"),
]
"""What lasts or leaves on the way home."""


class PowerCutError(BaseException):
    """The end of everything, as far as a process can see."""


class Fate:
    """Counts the points and ends everything at the chosen one."""

    def __init__(self, die: str | None = None) -> None:
        self.points: list[str] = []
        self._die = die
        self._seen: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        """Note the point; die if it is the one."""
        self._seen[name] += 1
        self.points.append(f"{name} #{self._seen[name]}")
        if self.points[-1] == self._die:
            raise PowerCutError

    def around(self, method: Callable[..., Awaitable[Any]], name: str) -> Callable[..., Any]:
        """Return the method with a point before and after it."""

        @functools.wraps(method)
        async def mortal(room: Any, *args: Any, **kwargs: Any) -> Any:
            what = f"{name} {args[0]}" if name in {"post", "put"} else name
            self.reach(f"before {what}")
            result = await method(room, *args, **kwargs)
            self.reach(f"after {what}")
            return result

        return mortal


async def test_a_power_cut_anywhere_leaves_one_issue_with_everything_in_it(
    config: Path, keys: Keys, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each commit and each request of the move, it ends the same way."""
    async with installation(config, keys) as here:
        delivery = await filed(here)
        await followed_up(here, delivery)
        await write(here, "Looks bad.")
        began = here.clock.advance(hours=1)
    state = config.parent / "state"
    saved = shutil.copytree(state, config.parent / "saved")
    rehearsal = Fate()
    points: list[str | None] = [None]
    broken = []
    while points:
        point = points.pop()
        shutil.rmtree(state)
        shutil.copytree(saved, state)
        gitlab.reset()
        fate = Fate(point) if point else rehearsal
        async with installation(config, keys, clock=StillClock(began)) as here:
            await _travel(here, fate, monkeypatch)
            assert point is None or fate.points[-1] == point
            broken += [f"{point}: {said}" for said in await _complaints(here, gitlab)]
        if point is None:  # what is before one effect is after the one before it
            points = [reached for reached in rehearsal.points if reached.startswith("after")]
            assert len(points) >= 9, points
    assert [] == broken


async def _travel(here: Installation, fate: Fate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock strike for those who take issues home, until the end, and thrice after it.

    They keep nothing in memory between two strikes, so the next one is like one after a restart.
    """
    (chore,) = [chore for chore in here.chores() if chore.name == "returning"]
    with monkeypatch.context() as patched, contextlib.suppress(PowerCutError):
        for owner, name in LASTING:
            patched.setattr(owner, name, fate.around(getattr(owner, name), name))
        await chore.do()
    for _ in range(3):
        here.clock.advance(hours=1)
        await chore.do()


async def _complaints(here: Installation, gitlab: FakeGitLab) -> list[str]:
    """Say what is not as it has to be; nothing, when all is well."""
    said = []
    issues = gitlab.issues()
    notes = [note["body"] for issue in issues for note in gitlab.notes(issue["iid"])]
    if [("opened", True)] != [(one["state"], one["confidential"]) for one in issues]:
        said.append(f"{len(issues)} issues")
    if not all(CANARY in issue["description"] for issue in issues):
        said.append("the issue does not hold the report")
    if [True, False] != ["Kohlrabi" in note for note in notes]:
        said.append(f"{len(notes)} comments, or out of order")
    old = await here.local()
    farewells = [one for one in old.comments if "has moved" in one.text]
    if old.issue.open or len(farewells) != 1:
        said.append(f"the old issue is open={old.issue.open}, {len(farewells)} farewells")
    if await here.house.store.away_from_home("local"):
        said.append("the move is not settled")
    return said


async def test_a_power_cut_before_the_case_knows_its_issue_makes_no_second_one(
    config: Path, keys: Keys, gitlab: FakeGitLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The issue stands in the embedded tracker, unrecorded, and the project is mended meanwhile."""
    fate = Fate("after create_issue #1")
    async with installation(config, keys) as here:
        delivery = await here.receive(a_mail())
        (due,) = await here.house.store.claim(here.clock.now(), limit=1, lease=timedelta(0))
        with monkeypatch.context() as patched, contextlib.suppress(PowerCutError):
            patched.setattr(Store, "create_issue", fate.around(Store.create_issue, "create_issue"))
            await build_steps(here.house).carry(due)
        began = here.clock.advance(hours=1)
    assert fate.points == ["before create_issue #1", "after create_issue #1"]
    gitlab.settings(archived=False)
    async with installation(config, keys, clock=StillClock(began)) as here:
        await here.work()
        assert State.FILED is not (await here.delivery(delivery)).state
        assert [] == gitlab.issues()
        assert (await here.local()).issue.open
        await go_home(here, gitlab)
        assert not (await here.local()).issue.open
    assert [("opened", True)] == [(one["state"], one["confidential"]) for one in gitlab.issues()]
