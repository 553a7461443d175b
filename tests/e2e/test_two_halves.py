"""Can taking mail and working on it be two processes?  No keys where mail comes in."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_stories import Home
from tests.support.keys import REPORTER, Keys, copied_ring
from tests.support.relay import relay_in_thread
from tests.support.reports import CANARY, report_of
from tests.support.running import RunningDaemon, command, write_config
from tests.support.village import states, wait_until


def test_mail_is_taken_without_keys_and_worked_on_by_another_process(
    keys: Keys, tmp_path: Path
) -> None:
    """``listen`` answers 250 where there is no key ring at all; ``work`` files and answers."""
    with copied_ring(keys.role) as ring, relay_in_thread() as relay:
        port, key = relay.port, keys.role_fpr
        config = write_config(tmp_path, role_home=ring.home, role_key=key, relay_port=port)
        (tmp_path / "keyless").mkdir()
        blind = write_config(
            tmp_path / "keyless", role_home=tmp_path / "nothing-here", role_key=key, relay_port=port
        )
        blind.write_text(blind.read_text().replace("keyless/state", "state"))
        with (
            RunningDaemon(blind, argv=("-m", "secbridge", "listen")) as listening,
            RunningDaemon(config, argv=("-m", "secbridge", "work")) as working,
        ):
            house = Home(config, listening, relay)
            house.hand_in(report_of(keys))
            wait_until(lambda: states(config) == ["done"], "not done", beside=[listening, working])
            assert [0, 0] == [listening.terminate(), working.terminate()]
        assert [] == working.wait_for("daemon.started")["listeners"]
        assert CANARY in command(config, "issue", "show", "1")
        assert (REPORTER,) in [mail.recipients for mail in relay.taken]
