"""Can somebody else add a tracker?  A distribution of its own, installed, tested, and run."""

from __future__ import annotations

import json
import os
import shutil
import smtplib
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.keys import REPORTER, ROLE, Keys, copied_ring
from tests.support.relay import Relay, relay_in_thread
from tests.support.reports import CANARY, encrypted_report, plain_report
from tests.support.running import PATIENCE, RunningDaemon, command, write_config
from tests.support.village import states, wait_until

SOURCE = Path(__file__).resolve().parents[1] / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the plugin from a copy of its source, and install it into a folder; without network."""
    copy = tmp_path_factory.mktemp("source") / "plugin"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    target = tmp_path_factory.mktemp("installed")
    run("pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
        "--disable-pip-version-check", "--target", target, copy)  # fmt: skip
    return target


@pytest.fixture
def beside(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes find the plugin beside secbridge."""
    monkeypatch.setenv("PYTHONPATH", str(installed))


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Return a relay that takes everything."""
    with relay_in_thread() as relay:
        yield relay


@pytest.fixture
def config(keys: Keys, relay: Relay, tmp_path: Path) -> Iterator[Path]:
    """Return a configuration whose alias files into a folder."""
    (tmp_path / "shared" / "reports").mkdir(parents=True)
    (tmp_path / "shared" / "reports").chmod(0o770)
    with copied_ring(keys.role) as role:
        yield write_config(
            tmp_path,
            role_home=role.home,
            role_key=keys.role_fpr,
            relay_port=relay.port,
            more=f'[trackers.main]\nkind = "folder"\nroot = "{tmp_path}/shared"',
            alias='tracker = "main"\nproject = "reports"',
        )


def run(module: str, *arguments: str | Path) -> str:
    """Run a module of this Python and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hand_in(port: int, content: bytes) -> None:
    """Hand a mail to the daemon."""
    with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        client.sendmail(REPORTER, [ROLE], content)


@pytest.mark.usefixtures("beside")
def test_its_own_tests_run_the_contract_suite(tmp_path: Path) -> None:
    """The suite that our adapters keep is collected there, and holds."""
    copy = tmp_path / "plugin"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__", "src", ".*"))
    told = run("pytest", "-v", "-p", "no:cacheprovider", copy)
    assert "skipped" not in told
    assert "TestContract::test_nothing_that_a_mail_says_comes_alive PASSED" in told
    assert "TestSecrecy::test_an_issue_that_stays_public_never_gets_a_word" in told


@pytest.mark.usefixtures("beside")
def test_check_asks_it_as_it_asks_the_built_in_ones(config: Path) -> None:
    """Its findings stand among the others, and name its own setting."""
    assert "The folder is there." in command(config, "check")
    (config.parent / "shared" / "reports").chmod(0o775)
    told = json.loads(command(config, "check", "--json", status=2))
    (refused,) = [one for one in told["findings"] if one["severity"] == "error"]
    assert refused["setting"] == "trackers.main.root"


@pytest.mark.usefixtures("beside")
def test_a_mail_becomes_an_issue_in_it(config: Path, keys: Keys) -> None:
    """The daemon files an encrypted report there, where only the team gets in."""
    report = encrypted_report(
        keys.reporter, keys.reporter_fpr, keys.role_fpr, mail=plain_report(), attach=b"\0proof"
    )
    with RunningDaemon(config) as daemon:
        hand_in(daemon.port, report)
        wait_until(lambda: states(config) == ["done"], "not done", beside=[daemon])
        assert daemon.terminate() == 0
    (issue,) = (config.parent / "shared" / "reports").iterdir()
    record = json.loads((issue / "issue.json").read_text())
    assert issue.name == "0001"
    assert CANARY in (issue / "issue.md").read_text()
    assert (["Security"], ["alex"], True) == (record["labels"], record["assignees"], record["open"])
    assert b"\0proof" in [file.read_bytes() for file in (issue / "files").iterdir()]
    for_others = [
        file for file in (issue, *issue.glob("*.*")) if file.stat().st_mode & stat.S_IRWXO
    ]
    assert [] == for_others


def test_without_it_the_kind_is_unknown_and_the_mend_names_what_there_is(config: Path) -> None:
    """A configuration that names a plugin which is not installed is refused in words."""
    assert "PYTHONPATH" not in os.environ
    told = command(config, "check", status=2)
    assert "is no installed kind of tracker" in told
