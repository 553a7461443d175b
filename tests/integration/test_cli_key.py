"""key: an operator sees whose keys there are, what is wrong with one, and puts the right one in."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pysequoia
import pytest
from tests.support.commands import Done, secbridge
from tests.support.keys import REPORTER, ROLE, Keys, Ring, copied_ring, fresh_ring
from tests.support.running import write_config
from tests.support.stores import NOON, StillClock, a_mail, an_envelope, opened_case, targets

from secbridge.model.case import KeyBinding, Route
from secbridge.model.message import CertificateSource
from secbridge.ports import BoundKey, KeyChange
from secbridge.store import Store

ALEX = "alex@example.org"
CHECKOUT = Path(__file__).resolve().parents[2]


class Desk:
    """A process in which one command after the other is typed: starting takes the longest."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.typist"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT,
        )  # fmt: skip

    def type(self, *arguments: str | Path) -> Done:
        """Type a command and return what it wrote."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(one) for one in arguments]) + "\n")
        self._process.stdin.flush()
        status, out, err = json.loads(self._process.stdout.readline())
        return Done(status, out.encode(), err)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=90)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    """Return where commands are typed."""
    made = Desk()
    yield made
    made.close()


class Office:
    """An installation with a member and one case of the reporter, without a daemon."""

    def __init__(self, folder: Path, ring: Ring, keys: Keys, member: str, desk: Desk) -> None:
        self.ring, self.member, self.desk = ring, member, desk
        self.folder = folder
        self.config = write_config(
            folder,
            role_home=ring.home,
            role_key=keys.role_fpr,
            relay_port=1,
            alias=f'[[alias.member]]\naddress = "{ALEX}"\nname = "Alex"\nfingerprint = "{member}"\n'
            '[[alias.member]]\naddress = "sam@example.org"\n',
        )
        self.case = asyncio.run(self._open_case())

    async def _open_case(self) -> str:
        store = await self._store()
        (delivery,) = await store.accept(an_envelope(), a_mail(), targets())
        route = Route(ROLE, "local", "security", (), (), NOON.date())
        case = await opened_case(store, delivery, route, reporter=REPORTER, must_encrypt=True)
        await store.aclose()
        return case.id

    async def _store(self) -> Store:
        database = self.folder / "state" / "secbridge.sqlite"
        return await Store.open(database, clock=StillClock())

    def bind(self, fingerprint: str, source: CertificateSource) -> None:
        """Bind a key to the case, as its first mail does."""

        async def bind() -> None:
            store = await self._store()
            await store.bind_key(self.case, KeyBinding(REPORTER, fingerprint, source, NOON))
            await store.aclose()

        asyncio.run(bind())

    def propose(self, fingerprint: str) -> None:
        """Let another key come for the case."""

        async def propose() -> None:
            store = await self._store()
            source = CertificateSource.AUTOCRYPT
            await store.propose_key(KeyChange(self.case, REPORTER, fingerprint, source, NOON))
            await store.aclose()

        asyncio.run(propose())

    def bound(self) -> Sequence[BoundKey]:
        """Return all bindings."""

        async def bound() -> Sequence[BoundKey]:
            store = await self._store()
            found = await store.bound_keys()
            await store.aclose()
            return found

        return asyncio.run(bound())

    def key(self, *arguments: str | Path, status: int = 0) -> Done:
        """Run ``secbridge key …``."""
        done = self.desk.type("key", *arguments, "--config", self.config)
        assert "Traceback" not in done.err
        assert (status, "fault of its own" in done.err) == (done.status, False), done.err
        return done

    def rows(self, *arguments: str | Path, status: int = 0) -> list[Any]:
        """Run ``secbridge key … --json`` and return its lines."""
        return self.key(*arguments, "--json", status=status).rows


@pytest.fixture(scope="module")
def people() -> Iterator[Ring]:
    """Return a ring of members and others."""
    with fresh_ring() as ring:
        yield ring


@pytest.fixture
def office(tmp_path: Path, role_ring: Ring, keys: Keys, people: Ring, desk: Desk) -> Office:
    """Return an office whose member's key is in the ring."""
    if not people.fingerprints():
        people.make_key(f"Alex <{ALEX}>")
    member = people.fingerprints()[0]
    role_ring.take(people.export(member))
    return Office(tmp_path, role_ring, keys, member, desk)


def saved(folder: Path, content: bytes) -> Path:
    """Return a file with a key."""
    file = folder / "key.asc"
    file.write_bytes(content)
    return file


class TestShowing:
    """``key show``: roles, then members, then reporters."""

    def test_every_key_is_listed_with_what_it_is_good_for(self, office: Office, keys: Keys) -> None:
        """Who, which case, where from and since when, and whether it can be used now."""
        office.ring.take(keys.reporter_cert)
        office.bind(keys.reporter_fpr, CertificateSource.INSIDE)
        role, alex, sam, reporter = office.rows("show")
        assert ("role", keys.role_fpr, True, False) == (
            role["kind"], role["fingerprint"], role["usable"], role["waiting"],
        )  # fmt: skip
        assert ("member", ALEX, "Alex", office.member, True) == (
            alex["kind"], alex["address"], alex["name"], alex["fingerprint"], alex["usable"],
        )  # fmt: skip
        assert ("sam@example.org", None, False, False) == (
            sam["address"], sam["fingerprint"], sam["in_ring"], sam["usable"],
        )  # fmt: skip
        assert {
            "kind": "reporter",
            "case": office.case,
            "address": REPORTER,
            "fingerprint": keys.reporter_fpr,
            "source": "attached-inside",
            "since": NOON.isoformat(),
            "algorithm": "ed25519/cv25519",
            "encryption_subkeys": list(keys.reporter.subkeys(keys.reporter_fpr)),
        }.items() <= reporter.items()

    def test_a_person_sees_a_table_and_what_waits_for_a_word(
        self, office: Office, keys: Keys
    ) -> None:
        """Fingerprints are whole, colours are for terminals, and the next command stands there."""
        office.bind(keys.reporter_fpr, CertificateSource.INSIDE)
        office.propose(keys.stranger_fpr)
        shown = office.key("show").text
        assert f"secbridge key accept {keys.stranger_fpr} --case {office.case}" in shown
        assert "in the Autocrypt header" in shown
        line = next(line for line in shown.splitlines() if keys.reporter_fpr in line)
        assert "not in the key ring" in line
        assert "\x1b" not in shown

    def test_one_key_or_one_address_is_shown_in_full(self, office: Office, keys: Keys) -> None:
        """Where it came from in words; blanks in a fingerprint do not matter, nor does case."""
        office.bind(keys.reporter_fpr, CertificateSource.WKD)
        office.propose(keys.stranger_fpr)
        spaced = " ".join(keys.reporter_fpr[at : at + 4].lower() for at in range(0, 40, 4))
        assert "key directory of the reporter's domain" in office.key("show", spaced).text
        shown = office.rows("show", REPORTER.upper())
        assert [(keys.reporter_fpr, False), (keys.stranger_fpr, True)] == [
            (row["fingerprint"], row["waiting"]) for row in shown
        ]
        assert "key show` lists all" in office.key("show", "nobody@example.net", status=2).err

    def test_a_new_installation_has_roles_and_members(
        self, tmp_path: Path, role_ring: Ring, keys: Keys, desk: Desk
    ) -> None:
        """Before the first mail there is no store, and none is made."""
        config = write_config(
            tmp_path, role_home=role_ring.home, role_key=keys.role_fpr, relay_port=1
        )
        done = desk.type("key", "show", "--json", "--config", config)
        assert (done.status, done.row["fingerprint"]) == (0, keys.role_fpr)
        assert list((tmp_path / "state").glob("*.sqlite")) == []


class TestChecking:
    """``key check``: the clinic."""

    def test_a_file_is_looked_at_and_not_imported(
        self, office: Office, people: Ring, tmp_path: Path
    ) -> None:
        """All that is wrong is told with what to do, and exit status 1 says that it is no use."""
        old = people.make_key("Old <old@example.net>", expire="1y", at="20200101T000000")
        file = saved(tmp_path, people.export(old, armor=True))
        done = office.key("check", file, status=1)
        assert "It cannot be used: it has expired." in done.text
        assert "Mend: Extend its expiry date" in done.text
        piped = secbridge(
            "key", "check", "-", "--json", config=office.config, stdin=file.read_bytes()
        )
        assert piped.status == 1
        row = piped.row
        assert (old, False, ["expired"]) == (
            row["fingerprint"], row["usable"], [one["code"] for one in row["problems"]],
        )  # fmt: skip
        assert old not in office.ring.fingerprints()

    def test_the_limits_are_those_of_whose_key_it_is(
        self, office: Office, people: Ring, tmp_path: Path
    ) -> None:
        """RSA 1024 is a warning for a reporter, and too little for a member."""
        found = []
        for address, status in (("old@example.net", 0), (ALEX, 1)):
            key = people.make_key(f"Short <{address}>", algo="rsa1024")
            (row,) = office.rows("check", saved(tmp_path, people.export(key)), status=status)
            found.append([[one["code"] for one in row[of]] for of in ("problems", "warnings")])
        assert [[[], ["weak"]], [["weak"], []]] == found

    def test_without_an_argument_our_own_keys_are_looked_at(
        self, office: Office, keys: Keys
    ) -> None:
        """Each once; one that the ring does not have is unusable, and how to get it is said."""
        assert [keys.role_fpr, office.member] == [
            row["fingerprint"] for row in office.rows("check")
        ]
        office.ring.gpg("--yes", "--delete-keys", office.member)
        shown = office.key("check", status=1).text
        assert "it is not in the key ring" in shown
        assert "secbridge key import FILE" in shown

    def test_the_operators_own_limits_count(
        self, tmp_path: Path, role_ring: Ring, keys: Keys, desk: Desk
    ) -> None:
        """Ed25519 is as strong as RSA 3072: not enough for whoever asks for more."""
        found = []
        for least in (3072, 3073):
            config = write_config(
                tmp_path,
                role_home=role_ring.home,
                role_key=keys.role_fpr,
                relay_port=1,
                more=f"[keys]\nown_refuse_below = {least}\n",
            )
            done = desk.type("key", "check", "--json", "--config", config)
            found.append((done.status, [one["code"] for one in done.row["problems"]]))
        assert [(0, []), (1, ["weak"])] == found

    def test_keys_of_the_ring_are_found_by_address_and_fingerprint(
        self, office: Office, keys: Keys
    ) -> None:
        """What is neither is told as such."""
        office.ring.take(keys.reporter_cert)
        for which in (REPORTER, keys.reporter_fpr):
            (row,) = office.rows("check", which)
            assert (keys.reporter_fpr, True) == (row["fingerprint"], row["usable"])
            assert ["Rita Reporter <reporter@example.net>"] == row["user_ids"]
        assert "neither a full fingerprint" in office.key("check", "nothing", status=2).err

    @pytest.mark.parametrize("odd", ["\u202e", "\x1b[2J", "\n[GNUPG:] GOODSIG "])
    def test_a_user_id_never_steers_the_terminal(
        self, office: Office, tmp_path: Path, odd: str
    ) -> None:
        """What its owner wrote to fool a reader is written out."""
        made = pysequoia.Tsk.generate(user_ids=[f"Eve{odd} <eve@example.net>"])
        file = saved(tmp_path, bytes(made.extract_certificate()))
        done = office.key("check", file, status=1)
        assert odd not in done.text
        assert f"⟦U+{ord(odd[0]):04X}⟧" in done.text or odd[0] == "\n"
        assert [line for line in done.text.splitlines() if line.startswith("[GNUPG:]")] == []
        told = office.key("check", file, "--json", status=1)
        assert (1, True) == (len(told.rows), told.out.isascii())

    def test_a_file_that_is_too_large_is_not_even_read(
        self, office: Office, tmp_path: Path
    ) -> None:
        """A flooded certificate is told by its size, with what to do."""
        file = saved(tmp_path, b"\x99" * (257 << 10))
        assert "export-minimal" in office.key("check", file, status=2).err


class TestImporting:
    """``key import``: looked at first, taken by one address."""

    def test_a_case_answers_with_what_a_person_brought(
        self, office: Office, keys: Keys, tmp_path: Path
    ) -> None:
        """The key is bound as the person's word, and other user IDs stay outside."""
        with copied_ring(keys.reporter) as ring:
            ring.gpg("--quick-add-uid", keys.reporter_fpr, f"Role <{ROLE}>")
            file = saved(tmp_path, ring.export(keys.reporter_fpr, armor=True))
        (row,) = office.rows("import", file, "--case", office.case)
        assert (REPORTER, True, office.case, None) == (
            row["address"], row["kept"], row["case"], row["replaced"],
        )  # fmt: skip
        (bound,) = office.bound()
        assert (keys.reporter_fpr, CertificateSource.PERSON) == (
            bound.binding.fingerprint, bound.binding.source,
        )  # fmt: skip
        assert ROLE.encode() not in office.ring.gpg("--list-keys", keys.reporter_fpr)

    def test_a_key_that_is_bound_already_becomes_a_persons_word(
        self, office: Office, keys: Keys, tmp_path: Path
    ) -> None:
        """So an operator can say that it stays, where another key came and holds the answer."""
        office.bind(keys.reporter_fpr, CertificateSource.AUTOCRYPT)
        office.key("import", saved(tmp_path, keys.reporter_cert), "--case", office.case)
        (bound,) = office.bound()
        assert (keys.reporter_fpr, CertificateSource.PERSON, True) == (
            bound.binding.fingerprint, bound.binding.source, bound.binding.accepted_by is not None,
        )  # fmt: skip

    def test_another_key_than_the_bound_one_needs_a_yes(
        self, office: Office, keys: Keys, people: Ring, tmp_path: Path
    ) -> None:
        """Nobody can be asked in a script; --yes is the answer, and the old key is told."""
        office.bind(keys.stranger_fpr, CertificateSource.AUTOCRYPT)
        file = saved(tmp_path, keys.reporter_cert)
        refused = office.key("import", file, "--case", office.case, status=2)
        assert keys.stranger_fpr in refused.err
        assert "--yes" in refused.err
        assert [keys.stranger_fpr] == [one.binding.fingerprint for one in office.bound()]
        done = office.key("import", file, "--case", office.case, "--yes")
        assert f"instead of {keys.stranger_fpr}" in done.text
        assert [keys.reporter_fpr] == [one.binding.fingerprint for one in office.bound()]

    def test_a_member_is_told_what_to_write_into_the_configuration(
        self, office: Office, people: Ring, tmp_path: Path
    ) -> None:
        """The address is the key's own where it has one; without a case nothing is bound."""
        sam = people.make_key("Sam <sam@example.org>")
        done = office.key("import", saved(tmp_path, people.export(sam)))
        assert f'fingerprint = "{sam}"' in done.text
        assert sam in office.ring.fingerprints()
        assert len(office.bound()) == 0
        again = office.key("import", saved(tmp_path, people.export(office.member)))
        assert "fingerprint =" not in again.text

    def test_an_unusable_key_is_not_bound(
        self, office: Office, people: Ring, tmp_path: Path
    ) -> None:
        """It is told why; a revoked one is kept to tell whose signatures are."""
        gone = people.make_key(f"Gone <{REPORTER}>")
        file = saved(tmp_path, people.revoke(gone))
        done = office.key("import", file, "--case", office.case, status=1)
        assert "It cannot be used: it has been revoked." in done.text
        assert "nothing is encrypted to it" in done.text
        assert (len(office.bound()), gone in office.ring.fingerprints()) == (0, True)

    def test_what_is_no_key_or_too_weak_stays_outside(
        self, office: Office, people: Ring, tmp_path: Path
    ) -> None:
        """Garbage is told as such; RSA 1024, enough for a reporter, is too little for a member."""
        shown = office.key("import", saved(tmp_path, b"garbage"), status=1).text
        assert "could not be read as an OpenPGP certificate" in shown
        short = people.make_key("Sam short <sam@example.org>", algo="rsa1024")
        shown = office.key("import", saved(tmp_path, people.export(short)), status=1).text
        assert "It was not imported" in shown
        assert short not in office.ring.fingerprints()

    def test_what_is_not_clear_is_asked_back(
        self, office: Office, keys: Keys, people: Ring, tmp_path: Path
    ) -> None:
        """No address, two, another's, a role key, no such case: each has its sentence."""
        two = people.make_key("Two <two@example.net>")
        people.gpg("--quick-add-uid", two, "Two <zwei@example.net>")
        both, case = people.export(two), ("--case", office.case)
        reporter, role = keys.reporter_cert, keys.role_cert
        asked: list[tuple[bytes, tuple[str, ...], str]] = [
            (both, (), "two@example.net, zwei@example.net. Name one with --address."),
            (both, case, f"No certificate there has {REPORTER} as a user ID."),
            (reporter, (*case, "--address", "two@example.net"), "Leave --address out"),
            (reporter, ("--case", "SB-1999-0001"), "There is no case 'SB-1999-0001'"),
            (reporter + people.export(people.make_key(f"R <{REPORTER}>")), case, "Give one alone."),
            (role, ("--address", ROLE), "That is a role key."),
        ]
        for content, options, sentence in asked:
            done = office.key("import", saved(tmp_path, content), *options, status=2)
            assert sentence in done.err
        assert (len(office.bound()), two in office.ring.fingerprints()) == (0, False)
        assert office.key("import", tmp_path / "none", status=2).err.count("no-such-file") == 1


class TestAcceptingAndForgetting:
    """``key accept`` and ``key forget``."""

    def test_a_proposed_key_takes_the_place_of_the_bound_one(
        self, office: Office, keys: Keys, people: Ring
    ) -> None:
        """Only a key that came for this case and can be used."""
        new = people.make_key(f"Rita new <{REPORTER}>")
        office.bind(keys.reporter_fpr, CertificateSource.SIGNATURE)
        office.propose(new)
        case = ("--case", office.case)
        assert "not in our key ring any more" in office.key("accept", new, *case, status=2).err
        office.ring.take(people.export(new))
        done = office.key("accept", new.lower(), *case)
        assert f"{office.case} answers {REPORTER} with {new}" in done.text
        assert [new] == [one.binding.fingerprint for one in office.bound()]
        for which, word in ((keys.stranger_fpr, "no key with this"), (new[-16:], "40 hex")):
            assert word in office.key("accept", which, *case, status=2).err

    def test_a_forgotten_key_is_in_no_case_and_not_in_the_ring(
        self, office: Office, keys: Keys
    ) -> None:
        """In a script --yes has to stand there; what is not known is told."""
        office.ring.take(keys.reporter_cert)
        office.bind(keys.reporter_fpr, CertificateSource.INSIDE)
        asked = office.key("forget", keys.reporter_fpr, status=2)
        assert f"Forget {keys.reporter_fpr}? It answers {office.case}." in asked.err
        assert len(office.bound()) == 1
        (row,) = office.rows("forget", keys.reporter_fpr, "--yes")
        assert ([office.case], True) == (row["cases"], row["deleted"])
        assert (0, False) == (
            len(office.bound()), keys.reporter_fpr in office.ring.fingerprints(),
        )  # fmt: skip
        assert "in no case" in office.key("forget", keys.reporter_fpr, "--yes", status=2).err

    def test_our_own_keys_are_not_forgotten(self, office: Office, keys: Keys) -> None:
        """A role key never; a member's key stays in the ring when a case is cleared of it."""
        assert "role key" in office.key("forget", keys.role_fpr, "--yes", status=2).err
        assert "member's" in office.key("forget", office.member, "--yes", status=2).err
        office.bind(office.member, CertificateSource.KEYRING)
        done = office.key("forget", office.member, "--yes")
        assert "kept in the key ring" in done.text
        assert (0, True) == (len(office.bound()), office.member in office.ring.fingerprints())

    @pytest.mark.parametrize(("typed", "status", "left"), [(b"n\n", 2, 1), (b"y\n", 0, 0)])
    def test_a_person_at_a_terminal_is_asked(
        self, office: Office, keys: Keys, typed: bytes, status: int, left: int
    ) -> None:
        """The question names the key and its cases; anything but yes changes nothing."""
        office.bind(keys.reporter_fpr, CertificateSource.INSIDE)
        ours, theirs = pty.openpty()
        with Path(f"/dev/fd/{theirs}").open("rb") as terminal:
            os.write(ours, typed)
            done = subprocess.run(
                [sys.executable, "-m", "secbridge", "key", "forget", keys.reporter_fpr,
                 "--config", str(office.config)],
                stdin=terminal, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        os.close(ours)
        os.close(theirs)
        assert (status, left) == (done.returncode, len(office.bound()))
        assert office.case in done.stderr
