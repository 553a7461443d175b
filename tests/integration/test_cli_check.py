"""check: would a report get through?  Keys, store, relay and trackers are tried for real."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import Done, secbridge
from tests.support.keys import Keys, Ring, fresh_ring
from tests.support.relay import a_relay
from tests.support.running import write_config


async def checked(config: Path, **env: str) -> Done:
    """Run ``check --json`` beside a relay that takes everything."""
    async with a_relay() as relay:
        given = {"SECBRIDGE_SUBMISSION__PORT": str(relay.port), **env}
        return await asyncio.to_thread(secbridge, "check", "--json", config=config, env=given)


def errors(done: Done) -> list[Any]:
    """Return the findings that are errors."""
    assert "Traceback" not in done.err
    return [one for one in done.row["findings"] if one["severity"] == "error"]


def rewrite(config: Path, text: str, by: str) -> None:
    """Put something else in place of a text in the configuration."""
    config.write_text(config.read_text().replace(text, by))


@pytest.fixture
def config(tmp_path: Path, role_ring: Ring, keys: Keys) -> Path:
    """Return a configuration in which everything works."""
    return write_config(tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=1)


async def test_all_is_well_where_all_works(config: Path, keys: Keys) -> None:
    """Each thing that was tried is a finding, so that "all is well" says what it means."""
    done = await checked(config)
    assert (done.status, errors(done)) == (0, [])
    assert done.row["ok"] is True
    told = " ".join(f"{one['subject']} {one['text']}" for one in done.row["findings"])
    for subject in ("configuration", "security@example.org", keys.role_fpr, "store", "relay"):
        assert subject in told


async def test_a_relay_that_is_away_is_an_error(config: Path) -> None:
    """The rest is tried all the same."""
    done = await checked(config, SECBRIDGE_SUBMISSION__PORT="1")
    assert done.status == 2
    assert [one["subject"] for one in errors(done)] == ["relay"]


async def test_a_role_key_that_is_not_there_is_an_error(config: Path, keys: Keys) -> None:
    """A public key alone neither decrypts nor signs."""
    with fresh_ring() as ring:
        ring.take(keys.role_cert)
        done = await checked(config, SECBRIDGE_OPENPGP__HOME=str(ring.home))
    assert done.status == 2
    assert any(keys.role_fpr in one["subject"] + one["text"] for one in errors(done))


async def test_an_alias_without_an_assignee_is_found(config: Path) -> None:
    """Issues that belong to nobody are looked at by nobody."""
    rewrite(config, 'assignees = ["alex"]', "")
    done = await checked(config)
    assert done.status == 2
    (finding,) = errors(done)
    assert finding["setting"] == "alias.assignees"
    assert finding["mend"] == "Set assignees to the accounts of those who look first."


async def test_a_bad_configuration_is_one_finding_for_each_mistake(config: Path) -> None:
    """The answer is 2 as for everything that does not work, and JSON stays JSON."""
    rewrite(config, 'hostname = "mail', 'hostnam = "mail')
    done = await checked(config, SECBRIDGE_DAEMON__WORKERS="0")
    assert done.status == 2
    assert [one["subject"] for one in errors(done)] == ["configuration", "configuration"]
    assert any("hostnam: is not an option" in one["text"] for one in errors(done))


def test_a_missing_file_is_a_finding_too(tmp_path: Path) -> None:
    """The first thing that an operator gets wrong."""
    done = secbridge("check", config=tmp_path / "none.toml")
    assert done.status == 2
    assert "there is no such file" in done.text


def test_a_person_sees_marks_and_mends(config: Path) -> None:
    """No relay listens: the mark, the sentence, and what to do."""
    done = secbridge("check", config=config)
    assert done.status == 2
    assert "✓ configuration" in done.text
    assert "✗ relay" in done.text
    assert "Mend: " in done.text
    assert "\x1b" not in done.text


def test_a_finding_is_one_line_for_what_reads_a_pipe(config: Path) -> None:
    """However long it is: monitoring looks at lines.  One error is not "1 errors"."""
    many = ", ".join(f"person-{number}" for number in range(30))
    rewrite(config, '"alex"', ", ".join(f'"{who}"' for who in many.split(", ")))
    *findings, counted = secbridge("check", config=config).text.splitlines()
    assert f"✓ alias security@example.org: New issues go to {many}." in findings
    assert [line for line in findings if not line.startswith(("✓ ", "✗ ", "  Mend: "))] == []
    assert counted.endswith(" findings: 1 error, 0 warnings.")


async def test_a_role_key_of_two_aliases_is_tried_once(config: Path, keys: Keys) -> None:
    """A second try would tell nothing new, and costs a decryption and a signature."""
    other = f'\n[[alias]]\naddress = "psirt@example.org"\nrole_keys = ["{keys.role_fpr}"]\n'
    rewrite(config, 'assignees = ["alex"]', f'assignees = ["alex"]\n{other}assignees = ["alex"]')
    done = await checked(config)
    subjects = [one["subject"] for one in done.row["findings"]]
    assert subjects.count(f"role key {keys.role_fpr}") == 1
    assert "alias psirt@example.org" in subjects


async def test_a_certificate_without_its_key_is_an_error_and_the_rest_is_tried(
    config: Path, tmp_path: Path
) -> None:
    """The daemon would not start with it, so a check that says "all is well" would be wrong."""
    rewrite(
        config,
        "[intake]\n",
        f'[intake]\ntls_certificate = "{tmp_path / "no.pem"}"\ntls_key_file = "no.key"\n',
    )
    (tmp_path / "no.pem").write_text("")
    done = await checked(config)
    assert done.status == 2
    assert [one["setting"] for one in errors(done)] == ["intake.tls_certificate"]
    assert "relay" in [one["subject"] for one in done.row["findings"]]


async def test_a_key_ring_that_is_not_there_is_told_with_its_mend(
    config: Path, tmp_path: Path
) -> None:
    """Whoever forgot to make it learns how it must be."""
    done = await checked(config, SECBRIDGE_OPENPGP__HOME=str(tmp_path / "nothing"))
    mends = [one["mend"] for one in errors(done) if one["subject"].startswith("role key")]
    assert ["must have mode 0700" in (mend or "") for mend in mends] == [True]


async def test_a_place_that_one_may_not_look_into_is_told_and_no_fault_of_ours(
    config: Path,
) -> None:
    """As with the wrong user; here by a name that no file system takes, since root may look."""
    nowhere = f"/{'n' * 300}"
    for command in (["delivery", "list"], ["issue", "list"], ["run"]):
        done = await asyncio.to_thread(
            secbridge, *command, config=config, env={"SECBRIDGE_DAEMON__STATE_DIR": nowhere}
        )
        assert (done.status, done.text) == (78, "")
        assert "sudo -u secbridge" in done.err
        assert "fault of its own" not in done.err


async def test_members_keys_are_looked_at(
    tmp_path: Path, role_ring: Ring, keys: Keys, empty_ring: Ring
) -> None:
    """Missing, lost, weak, expired and short-lived keys are told, each with what to do."""
    good = empty_ring.make_key("Ann <ann@example.org>")
    lost = empty_ring.make_key("Bob <bob@example.org>")
    weak = empty_ring.make_key("Cat <cat@example.org>", algo="rsa1024")
    old = empty_ring.make_key("Dan <dan@example.org>", expire="1y", at="20200101T000000")
    brief = empty_ring.make_key("Eve <eve@example.org>", expire="20d")
    for key in (good, weak, old, brief):
        role_ring.take(empty_ring.export(key))
    people = {"ann": good, "bob": lost, "cat": weak, "dan": old, "eve": brief, "fay": ""}
    tables = [
        f'[[alias.member]]\naddress = "{name}@example.org"\n'
        + (f'fingerprint = "{key}"\n' if key else "")
        for name, key in people.items()
    ]
    config = write_config(
        tmp_path,
        role_home=role_ring.home,
        role_key=keys.role_fpr,
        relay_port=1,
        alias="".join(tables),
    )
    done = await checked(config)
    found = {one["subject"]: one for one in done.row["findings"] if "member" in one["subject"]}
    assert done.status == 2
    assert {
        "member ann@example.org": ("ok", False),
        "member bob@example.org": ("error", True),
        "member cat@example.org": ("error", True),
        "member dan@example.org": ("error", True),
        "member eve@example.org": ("warning", True),
        "member fay@example.org": ("warning", True),
    } == {who: (one["severity"], bool(one["mend"])) for who, one in found.items()}
    for who, word in (("bob", "not in the key ring"), ("cat", "too weak"), ("dan", "has expired")):
        assert word in found[f"member {who}@example.org"]["text"]
    assert "secbridge key import" in found["member fay@example.org"]["mend"]
