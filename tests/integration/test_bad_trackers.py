"""Does an operator who made a mistake learn which one?  By ``check``, by the log, by what waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.broken import CASES, YARDS, Breakage, Yard
from tests.support.guarded import installation
from tests.support.keys import Keys, Ring
from tests.support.reports import CANARY, plain_report
from tests.support.trackers import log_lines

from secbridge.cli.checks import check_everything
from secbridge.model.delivery import State
from secbridge.model.issue import Finding, Severity


@pytest.fixture(scope="module")
def yards() -> Iterator[dict[str, Yard]]:
    """Return the yard of each kind."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(opened()) for kind, opened in YARDS.items()}


@pytest.mark.parametrize(("kind", "how"), CASES)
async def test_what_is_wrong_is_named_and_the_report_drains_when_it_is_mended(
    kind: str, how: str, yards: dict[str, Yard], tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """Setting, words and mend by ``check`` and in the log; nothing is told meanwhile."""
    yard = yards[kind]
    yard.fresh()
    config = yard.config(tmp_path / "home", role_ring, keys.role_fpr)
    yard.break_it(config, how)
    breakage = yard.breakages[how]
    async with installation(config, keys) as here:
        findings = await check_everything(here.house.settings)
        with log_lines() as lines:
            delivery = await here.receive(plain_report().as_bytes())
            await here.work()
        waiting = await here.delivery(delivery)
    _is_named(breakage, findings, lines)
    assert breakage.waits == (waiting.state is State.DEFERRED)
    assert breakage.waits == all(CANARY not in text for text in yard.texts())
    yard.mend(config, how)
    async with installation(config, keys) as here:
        here.clock.advance(hours=2)
        await here.work()
        assert State.ANSWERED is (await here.delivery(delivery)).state
        assert (await here.case(delivery)).id.endswith("-0001")
    assert [True] == [CANARY in text for text in yard.texts() if text]


async def test_a_place_where_something_may_have_happened_is_not_left(
    yards: dict[str, Yard], tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """After a request with an unknown outcome a changed project could make a second issue."""
    yard = yards["gitlab"]
    yard.fresh()
    config = yard.config(tmp_path / "home", role_ring, keys.role_fpr)
    yard.lose_the_answer()
    async with installation(config, keys) as here:
        delivery = await here.receive(plain_report().as_bytes())
        await here.work()
    yard.break_it(config, "misspelt project")
    async with installation(config, keys) as here:
        here.clock.advance(hours=2)
        await here.work()
        assert "tracker-not-configured" == (await here.delivery(delivery)).why
    yard.mend(config, "misspelt project")
    async with installation(config, keys) as here:
        here.clock.advance(hours=4)
        await here.work()
        assert State.ANSWERED is (await here.delivery(delivery)).state
    assert [True] == [CANARY in text for text in yard.texts()]


def _is_named(breakage: Breakage, findings: Any, lines: list[Any]) -> None:
    """See that the right setting is named, in our words, with a mend, and how bad it is."""
    expected = Severity.ERROR if breakage.waits else Severity.WARNING
    named: list[Finding] = [
        finding
        for finding in findings
        if (finding.setting, finding.severity) == (breakage.setting, expected)
        and breakage.says in finding.text
    ]
    assert named, [(one.setting, one.severity, one.text) for one in findings]
    assert all(finding.mend for finding in named)
    logged = [
        line
        for line in lines
        if line["event"] == "check.finding" and line.get("setting") == breakage.setting
    ]
    assert [breakage.waits] == [line["alarm"] for line in logged if breakage.says in line["text"]]
    assert all(line["mend"] for line in logged)
