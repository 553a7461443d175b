"""Nobody looks into the key ring while it is written: it is not there for a moment then."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.support.keys import REPORTER, Keys, Ring

from secbridge.errors import Deferral
from secbridge.openpgp import GnuPG
from secbridge.openpgp.turns import Turns
from secbridge.ports import Decrypted

AT_ONCE = 0.0
LONG = 60.0

AWAY_FOR_A_WHILE = """#!/bin/sh
# As gpg replaces its ring, but slowly: until somebody looks, or for a second.
case " $* " in
*" --import "*)
    mv {home}/pubring.kbx {home}/away
    echo > {place}/is-away
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -e {place}/looked ] && break
        sleep 0.05
    done
    mv {home}/away {home}/pubring.kbx ;;
*" --decrypt "*)
    touch {place}/looked
    {gpg} "$@"
    exit ;;
esac
exec {gpg} "$@"
"""
"""Who comes in between says so before its gpg starts, and finds no ring."""


async def test_a_mail_is_opened_while_another_ones_certificate_is_imported(
    keys: Keys, role_ring: Ring, tmp_path: Path
) -> None:
    """It waits for the ring, which is not there meanwhile, and is not called damaged."""
    script = tmp_path / "gpg"
    gpg = shutil.which("gpg")
    script.write_text(AWAY_FOR_A_WHILE.format(home=role_ring.home, place=tmp_path, gpg=gpg))
    script.chmod(0o700)
    os.mkfifo(tmp_path / "is-away")
    message = keys.reporter.encrypt(b"text", keys.role_fpr)
    gnupg = GnuPG(role_ring.home, role_keys=[keys.role_fpr], binary=str(script))
    importing = asyncio.create_task(gnupg.import_certificate(keys.reporter_cert, address=REPORTER))
    await asyncio.to_thread((tmp_path / "is-away").read_bytes)
    opened = await gnupg.decrypt(message, limit=1024)
    imported = await importing
    await gnupg.aclose()
    assert isinstance(opened, Decrypted)
    assert imported is not None
    assert (keys.reporter_fpr, None) == (imported.fingerprint, imported.problem)


def test_many_look_at_once() -> None:
    """Those who only look do not wait for each other."""
    turns = Turns()
    with turns.looking(AT_ONCE), turns.looking(AT_ONCE):
        pass


def test_one_writes_alone() -> None:
    """Neither a reader nor another writer comes in; all can when it has left."""
    turns = Turns()
    with turns.writing(AT_ONCE):
        assert [True, True] == [is_refused(turns, "looking"), is_refused(turns, "writing")]
    assert [False, False] == [is_refused(turns, "looking"), is_refused(turns, "writing")]


def test_nobody_writes_while_somebody_looks() -> None:
    """And a writer that gave up keeps nobody away."""
    turns = Turns()
    with turns.looking(AT_ONCE):
        assert is_refused(turns, "writing")
        assert not is_refused(turns, "looking")
    assert not is_refused(turns, "writing")


def test_who_waits_to_write_comes_before_those_who_look_later() -> None:
    """However many look: an import is not put off for ever."""
    turns = Turns()
    wrote = threading.Event()

    def write() -> None:
        with turns.writing(LONG):
            wrote.set()

    writer = threading.Thread(target=write)
    with turns.looking(AT_ONCE):
        writer.start()
        while not is_refused(turns, "looking"):
            assert not wrote.is_set()
    writer.join(LONG)
    assert wrote.is_set()
    assert not is_refused(turns, "looking")


def test_a_wait_that_ends_is_a_fault_of_ours() -> None:
    """Nothing is wrong with the mail: a Deferral, as for a gpg that takes too long."""
    turns = Turns()
    with turns.writing(AT_ONCE), pytest.raises(Deferral) as caught, turns.looking(AT_ONCE):
        pass
    assert "gpg-timeout" == caught.value.code


def is_refused(turns: Turns, how: str) -> bool:
    """Return whether a turn cannot be had at once."""
    try:
        with turns.looking(AT_ONCE) if how == "looking" else turns.writing(AT_ONCE):
            return False
    except Deferral:
        return True
