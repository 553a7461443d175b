"""What does an operator see who set up a tracker wrongly?  The real daemon, and the commands."""

from __future__ import annotations

import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.broken import YARDS, Yard
from tests.support.keys import REPORTER, ROLE, Keys, Ring
from tests.support.reports import CANARY, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, lines_of_json
from tests.support.village import states, wait_until


@pytest.fixture
def yard(kind: str) -> Iterator[Yard]:
    """Return the yard of a kind."""
    with YARDS[kind]() as opened:
        yield opened


def hand_in(port: int) -> None:
    """Hand a report in clear to the daemon."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.sendmail(REPORTER, [ROLE], plain_report().as_bytes())


def open_issues(config: Path) -> int:
    """Return how many issues of the embedded tracker are open, by a look that disturbs nobody."""
    database = config.parent / "state" / "secbridge.sqlite"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT sum(open) FROM local_issues").fetchone()[0])


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("gitlab", "wrong token"),
        ("gitlab", "archived project"),
        ("github", "public project"),
        ("jira", "wrong token"),
    ],
)
def test_a_report_waits_in_sight_and_drains_when_it_is_mended(
    yard: Yard, how: str, tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """Told by the log, by ``check`` and by the list; mended without a restart."""
    config = yard.config(tmp_path / "home", role_ring, keys.role_fpr)
    breakage = yard.breakages[how]
    yard.break_it(config, how)
    with RunningDaemon(config) as daemon:
        finding = daemon.wait_for("check.finding", setting=breakage.setting, alarm=True)
        assert breakage.says in finding["text"]
        assert finding["mend"]
        hand_in(daemon.port)
        daemon.wait_for("deferred", alarm=True, why="project-refused")
        (row,) = lines_of_json(command(config, "delivery", "list", "--json"))
        assert row["state"] in {"deferred", "routed"}  # it is tried again every other second
        said = command(config, "check", "--json", status=2)
        assert breakage.setting in said
        assert "The daemon files nothing there since" in said
        assert [] == [text for text in yard.texts() if CANARY in text]
        yard.mend(config, how)
        wait_until(
            lambda: any(CANARY in text for text in yard.texts()), "not told", beside=[daemon]
        )
        wait_until(lambda: states(config) != ["deferred"], "it waits still", beside=[daemon])
        daemon.wait_for("tracker.project_mended")
        assert daemon.terminate() == 0


@pytest.mark.parametrize("kind", list(YARDS))
def test_with_a_fallback_a_report_moves_home_when_the_project_is_mended(
    yard: Yard, tmp_path: Path, role_ring: Ring, keys: Keys
) -> None:
    """Filed at once in the embedded tracker, and by itself in its own a moment after the mend."""
    config = yard.config(tmp_path / "home", role_ring, keys.role_fpr)
    text = config.read_text().replace("[retry]\n", '[retry]\ntrackers = "1s"\n')
    config.write_text(text + 'fallback = "local"\n')
    yard.break_it(config, "archived project")
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port)
        daemon.wait_for("case.filed_in_fallback", alarm=True)
        wait_until(lambda: states(config) == ["answered"], "not answered", beside=[daemon])
        (issue,) = lines_of_json(command(config, "issue", "list", "--json"))
        assert CANARY in command(config, "issue", "show", str(issue["number"]))
        yard.mend(config, "archived project")
        daemon.wait_for("case.moved_home")
        assert [True] == [CANARY in text for text in yard.texts()]
        wait_until(lambda: open_issues(config) == 0, "the old one is open", beside=[daemon])
        assert daemon.terminate() == 0
