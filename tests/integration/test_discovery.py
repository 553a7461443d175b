"""Is a key found where people publish it, and nobody else told?  Real HTTPS, real SOCKS5."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.answering import House, a_house
from tests.support.fake_keyservers import (
    ADVANCED,
    DIRECT,
    KEYSERVER,
    UNCERTIFIED,
    FakeKeyServers,
    Fault,
    Names,
    all_names,
    key_servers_in_thread,
)
from tests.support.keys import REPORTER, Keys, Ring, fresh_ring
from tests.support.listening import HeldLoop, run_held, until
from tests.support.messages import encrypted
from tests.support.ports import reserved_port
from tests.support.running import PATIENCE
from tests.support.stores import StillClock, opened

from secbridge.mail.packets import walk
from secbridge.model.case import KeyBinding
from secbridge.model.message import (
    CertificateSource,
    Coverage,
    FoundCertificate,
    Message,
    Signature,
    SignatureVerdict,
)
from secbridge.openpgp.discovery import MOST_FINGERPRINTS, Discovery, KeyServers, Memory
from secbridge.openpgp.fetching import Fetcher
from secbridge.openpgp.wkd import directory_urls
from secbridge.pipeline.keyfinding import SOURCES, find_key
from secbridge.ports import KeyFinder
from secbridge.rules.replies import KeyFound, KeyProblem, KeySearch, NoKey
from secbridge.store import Store

WKD, VKS, HKP = CertificateSource.WKD, CertificateSource.VKS, CertificateSource.HKP
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"
BOTH = KeyServers(vks=f"https://{KEYSERVER}", hkp=f"https://{KEYSERVER}")

urls = directory_urls(REPORTER)
assert urls is not None
WKD_ADVANCED, WKD_DIRECT = urls.advanced, urls.direct
VKS_URL = f"https://{KEYSERVER}/vks/v1/by-email/reporter%40example.net"


def hkp_url(fingerprint: str) -> str:
    """Return where the fake gives out a certificate by its fingerprint."""
    return f"https://{KEYSERVER}/pks/lookup?op=get&options=mr&search=0x{fingerprint}"


@pytest.fixture(scope="module")
def running() -> Iterator[FakeKeyServers]:
    """Start the servers once for all tests of this page."""
    with key_servers_in_thread() as servers:
        yield servers


@pytest.fixture
def servers(running: FakeKeyServers) -> Iterator[FakeKeyServers]:
    """Return the servers, which remember nothing of another test."""
    running.reset()
    yield running
    running.reset()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty store once: to copy it takes a tenth of the time."""

    async def make() -> None:
        async with opened(path):
            return

    path = tmp_path_factory.mktemp("empty") / "store.sqlite"
    asyncio.run(make())
    return path


@pytest.fixture
async def store(empty_store: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """Return an empty store."""
    async with opened(Path(shutil.copy(empty_store, tmp_path / "lookups.sqlite"))) as made:
        yield made


Make = Callable[..., Discovery]


@pytest.fixture
def make(servers: FakeKeyServers, store: Store) -> Make:
    """Return what makes a finder before the fake; the options are those of its door."""
    return maker(servers, store)


def maker(servers: FakeKeyServers, store: Store) -> Make:
    """Return what makes finders over a store."""

    def made(
        *,
        named: KeyServers = BOTH,
        names: Names | None = None,
        **given: Any,
    ) -> Discovery:
        options: dict[str, Any] = {
            "timeout": 5.0,
            "max_size": 256 << 10,
            "tls": servers.tls(),
            "private_networks": True,
            "resolve": names or all_names(servers),
        }
        fetcher = Fetcher(**(options | given))
        return Discovery(fetcher, store, clock=StillClock(), servers=named, memory=Memory())

    return made


async def found(finder: KeyFinder, source: CertificateSource = WKD, **given: Any) -> list[bytes]:
    """Return the octets that one place has for the reporter."""
    answers = await finder.find(source, REPORTER, **given)
    assert {answer.source for answer in answers} <= {source}
    return [answer.content for answer in answers]


# ── Web Key Directory ────────────────────────────────────────────────────────────────────────────


async def test_the_advanced_method_finds_a_key(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """One request to the sub-domain, and none to the domain itself."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    assert await found(make()) == [keys.reporter_cert]
    assert servers.hosts() == [ADVANCED]


async def test_a_request_says_nothing_of_us(servers: FakeKeyServers, make: Make) -> None:
    """A fixed name, nothing to be compressed, no cookie, no referrer, no language, no version."""
    await found(make())
    (asked,) = servers.asked
    assert asked.headers == {
        "host": ADVANCED,
        "user-agent": "secbridge",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


async def test_the_direct_method_counts_where_the_sub_domain_does_not_exist(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """The draft, section 3.1: the domain itself is asked then."""
    servers.publish(WKD_DIRECT, keys.reporter_cert)
    names = all_names(servers)
    del names.known[ADVANCED]
    assert await found(make(names=names)) == [keys.reporter_cert]
    assert servers.hosts() == [DIRECT]


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.BROKEN, Fault.ITSELF])
async def test_a_sub_domain_that_exists_has_the_last_word(
    servers: FakeKeyServers, make: Make, keys: Keys, fault: Fault
) -> None:
    """Whatever it answers, the direct method is not tried: the draft forbids it."""
    servers.publish(WKD_DIRECT, keys.reporter_cert)
    servers.fault = fault
    assert await found(make()) == []
    assert servers.hosts() == [ADVANCED]


async def test_a_stranger_s_name_is_resolved_as_it_is(servers: FakeKeyServers, make: Make) -> None:
    """With the final dot, so that no search list of ours makes another name of it; and once."""
    names = all_names(servers)
    await found(make(names=names))
    assert names.asked == [f"{ADVANCED}."]


# ── Keyservers ───────────────────────────────────────────────────────────────────────────────────


async def test_vks_is_asked_by_address(servers: FakeKeyServers, make: Make, keys: Keys) -> None:
    """The keyserver that the operator named, and nobody else."""
    armored = keys.reporter.gpg("--armor", "--export", keys.reporter_fpr)
    servers.publish(VKS_URL, armored)
    assert await found(make(), VKS) == [armored]
    assert servers.hosts() == [KEYSERVER]


async def test_hkp_is_asked_by_full_fingerprints_alone(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """A key id is not asked for, nor a fingerprint twice, nor more than a few."""
    signer = keys.reporter_fpr
    servers.publish(hkp_url(signer), keys.reporter_cert)
    others = [f"{number:040X}" for number in range(9)]
    wanted = [signer[-16:], signer, signer, *others]
    assert await found(make(), HKP, fingerprints=wanted) == [keys.reporter_cert]
    expected = [hkp_url(one) for one in [signer, *others][:MOST_FINGERPRINTS]]
    assert [f"https://{asked.host}{asked.path}" for asked in servers.asked] == expected


@pytest.mark.parametrize("source", [VKS, HKP])
async def test_a_keyserver_without_a_name_is_not_asked(
    servers: FakeKeyServers, make: Make, source: CertificateSource
) -> None:
    """Nobody is asked whom the operator did not name."""
    assert await found(make(named=KeyServers()), source, fingerprints=[FINGERPRINT]) == []
    assert servers.asked == []


@pytest.mark.parametrize("source", [one for one in CertificateSource if one not in (WKD, VKS, HKP)])
async def test_places_in_our_own_house_are_not_asked_outside(
    servers: FakeKeyServers, make: Make, source: CertificateSource
) -> None:
    """The ring, the mail and the team are not looked up by anybody."""
    assert await found(make(), source, fingerprints=[FINGERPRINT]) == []
    assert servers.asked == []


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────


HANGING = {Fault.SILENT, Fault.STALLED, Fault.DRIPPING}
"""How a server keeps who asks it waiting."""


@pytest.mark.parametrize("fault", sorted(set(Fault) - HANGING))
@pytest.mark.parametrize("source", [WKD, VKS])
async def test_whatever_a_server_answers_it_has_a_key_or_nothing(
    servers: FakeKeyServers, make: Make, keys: Keys, source: CertificateSource, fault: Fault
) -> None:
    """Endless, huge, redirecting, compressed: one request, nothing found."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    servers.fault = fault
    assert await found(make(timeout=PATIENCE), source) == []
    assert len(servers.asked) == 1


@pytest.mark.parametrize("fault", sorted(HANGING))
@pytest.mark.parametrize("source", [WKD, VKS])
def test_a_server_that_hangs_has_nothing_when_the_time_is_over(
    servers: FakeKeyServers,
    empty_store: Path,
    tmp_path: Path,
    keys: Keys,
    source: CertificateSource,
    fault: Fault,
) -> None:
    """Silent, stalled or dripping: one request, and one limit for the whole of its answer.

    The one that drips would have given the whole key in the end.
    """
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    servers.fault = fault

    async def story(loop: HeldLoop) -> None:
        async with opened(Path(shutil.copy(empty_store, tmp_path / "lookups.sqlite"))) as store:
            finder = maker(servers, store)(timeout=1000.0)
            asking = asyncio.create_task(found(finder, source))
            await until(lambda: servers.asked)
            for least in (0, 2) if fault is Fault.DRIPPING else (-1, -1):
                await until(partial(_has_dripped, servers, least))
                assert not asking.done()
                loop.let_pass(600)
            assert [] == await asking

    run_held(story)
    assert len(servers.asked) == 1


def _has_dripped(servers: FakeKeyServers, least: int) -> bool:
    return servers.dripped > least


async def test_an_answer_that_is_just_small_enough_is_read(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """The size limit is inclusive."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    assert await found(make(max_size=len(keys.reporter_cert))) == [keys.reporter_cert]


async def test_an_answer_that_is_one_octet_too_large_is_not(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """And nothing of it is kept."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    assert await found(make(max_size=len(keys.reporter_cert) - 1)) == []


async def test_a_certificate_for_another_name_is_refused(
    servers: FakeKeyServers, make: Make
) -> None:
    """The connection ends before anything was asked."""
    finder = make()
    domain = UNCERTIFIED.partition(".")[2]
    assert await finder.find(WKD, f"reporter@{domain}") == []
    assert servers.asked == []


async def test_a_certificate_of_an_unknown_authority_is_refused(
    servers: FakeKeyServers, make: Make
) -> None:
    """Without ca_file the system's authorities count, and ours is none of them."""
    assert await found(make(tls=ssl.create_default_context())) == []
    assert servers.asked == []


async def test_a_server_without_tls_is_not_asked(servers: FakeKeyServers, make: Make) -> None:
    """There is no way back to HTTP."""
    names = all_names(servers)
    names.known[ADVANCED] = [("127.0.0.1", servers.plain_port)]
    assert await found(make(names=names)) == []
    assert servers.asked == []


async def test_the_next_address_of_a_name_is_tried(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """Where the first one refuses the connection, as a dead IPv6 address does."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    names = all_names(servers)
    with reserved_port() as nobody:
        names.known[ADVANCED] = [("127.0.0.1", nobody), ("127.0.0.1", servers.port)]
        assert await found(make(names=names)) == [keys.reporter_cert]


async def test_a_resolver_that_fails_is_no_missing_host(
    servers: FakeKeyServers, make: Make
) -> None:
    """The sub-domain may exist for all we know, so the direct method has to wait."""

    async def broken(host: str, port: int) -> list[tuple[str, int]]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    assert await found(make(resolve=broken)) == []
    assert servers.asked == []


# ── A stranger chooses whom we connect to ────────────────────────────────────────────────────────


async def test_a_stranger_cannot_make_us_ask_our_own_machine(
    servers: FakeKeyServers, make: Make
) -> None:
    """A domain whose name leads to loopback is not asked, unless the operator says so."""
    assert await found(make(private_networks=False)) == []
    assert servers.asked == []


async def test_the_operators_own_server_may_be_anywhere(
    servers: FakeKeyServers, make: Make, keys: Keys
) -> None:
    """A keyserver that stands in the settings is trusted with its address."""
    servers.publish(VKS_URL, keys.reporter_cert)
    assert await found(make(private_networks=False), VKS) == [keys.reporter_cert]


async def test_the_environment_names_no_proxy(
    servers: FakeKeyServers, make: Make, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a shell exports for others is not our setting."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    with reserved_port() as nobody:
        for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
        assert await found(make()) == [keys.reporter_cert]


# ── Through a proxy ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize(
    ("source", "url", "host"),
    [
        (WKD, WKD_ADVANCED, ADVANCED),
        (VKS, VKS_URL, KEYSERVER),
        (HKP, None, KEYSERVER),
    ],
)
async def test_all_look_ups_go_through_the_proxy(  # one table of three places
    servers: FakeKeyServers,
    make: Make,
    keys: Keys,
    source: CertificateSource,
    url: str | None,
    host: str,
    scheme: str,
) -> None:
    """The name is resolved there, in either spelling, and nothing is resolved here."""
    servers.publish(url or hkp_url(keys.reporter_fpr), keys.reporter_cert)
    names = Names()
    finder = make(names=names, proxy=servers.proxy.replace("socks5h", scheme))
    assert await found(finder, source, fingerprints=[keys.reporter_fpr]) == [keys.reporter_cert]
    assert servers.tunnelled == [host]
    assert names.asked == []


async def test_behind_a_proxy_the_direct_method_counts_where_it_cannot_connect(
    servers: FakeKeyServers, make: Make
) -> None:
    """A proxy does not say whether there is such a host; what it cannot reach is passed over."""
    assert await make(proxy=servers.proxy).find(WKD, "reporter@example.info") == []
    assert servers.tunnelled == ["openpgpkey.example.info", "example.info"]


async def test_behind_a_proxy_the_certificate_counts_as_ever(
    servers: FakeKeyServers, make: Make
) -> None:
    """The proxy is asked to connect, and trusted with nothing else."""
    domain = UNCERTIFIED.partition(".")[2]
    assert await make(proxy=servers.proxy).find(WKD, f"reporter@{domain}") == []
    assert servers.tunnelled == [UNCERTIFIED]
    assert servers.asked == []


async def test_without_the_proxy_nobody_is_asked(servers: FakeKeyServers, make: Make) -> None:
    """A proxy that is away is no reason to go without it."""
    names = all_names(servers)
    with reserved_port() as nobody:
        assert await found(make(names=names, proxy=f"socks5h://127.0.0.1:{nobody}")) == []
    assert (servers.asked, names.asked) == ([], [])


@pytest.mark.parametrize(
    "said",
    [b"", b"\x05\xff", b"\x05\x00\x05\x01\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["silent", "no-method", "broken-off", "not-socks"],
)
def test_a_proxy_that_fails_or_hangs_costs_no_connection(
    servers: FakeKeyServers, empty_store: Path, tmp_path: Path, said: bytes
) -> None:
    """Whatever it says, or if it says nothing: we hang up, or look-ups would use up our sockets."""

    async def story(loop: HeldLoop) -> None:
        heard, hung_up = asyncio.Event(), asyncio.Event()

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            while await reader.read(1024):
                heard.set()
            writer.close()
            hung_up.set()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        async with server, opened(Path(shutil.copy(empty_store, tmp_path / "s.sqlite"))) as store:
            port = server.sockets[0].getsockname()[1]
            finder = maker(servers, store)(timeout=1000.0, proxy=f"socks5h://127.0.0.1:{port}")
            asking = asyncio.create_task(found(finder))
            await heard.wait()
            loop.let_pass(1001)
            assert [] == await asking
            await hung_up.wait()

    run_held(story)


# ── Which certificate answers the reporter ───────────────────────────────────────────────────────


@pytest.fixture
async def house(
    keys: Keys, role_ring: Ring, empty_store: Path, tmp_path: Path
) -> AsyncIterator[House]:
    """Return the rooms that answer; the ring knows the role key and nobody else."""
    shutil.copy(empty_store, tmp_path)
    async with a_house(keys, role_ring, tmp_path) as rooms:
        yield rooms


async def search(
    house: House, finder: KeyFinder | None, message: Message | None = None, **given: Any
) -> KeySearch:
    """Return which certificate answers the reporter of a new case."""
    case = await house.open_case(must_encrypt=True)
    return await find_key(
        message or encrypted(), REPORTER, case, house.store, house.openpgp, finder=finder, **given
    )


async def test_a_key_of_the_directory_answers_the_reporter(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """Where no earlier place has one; with its provenance."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    assert await search(house, make()) == KeyFound(keys.reporter_fpr, WKD)


async def test_without_a_finder_nobody_is_asked(
    servers: FakeKeyServers, keys: Keys, house: House
) -> None:
    """The off switch."""
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    assert await search(house, None) == NoKey()


async def test_of_several_keys_the_one_for_the_address_counts(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """A directory may give out several, one after the other."""
    servers.publish(WKD_ADVANCED, keys.stranger_cert + keys.reporter_cert)
    assert await search(house, make()) == KeyFound(keys.reporter_fpr, WKD)


async def test_a_key_for_another_address_is_none(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """Whoever keeps the directory: only the address that we answer counts as a user ID."""
    servers.publish(WKD_ADVANCED, keys.stranger_cert)
    assert await search(house, make()) == NoKey()
    assert await house.openpgp.certificate(keys.stranger_fpr) is None


async def test_an_expired_key_of_the_directory_is_told_to_its_owner(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """As one that was attached is; the keyserver behind it is not asked for a better one."""
    with fresh_ring() as ring:
        fingerprint = ring.make_key(
            f"Rita <{REPORTER}>", expire="seconds=86400", at="20260101T000000"
        )
        servers.publish(WKD_ADVANCED, ring.export(fingerprint))
    servers.publish(VKS_URL, keys.reporter_cert)
    assert await search(house, make()) == KeyProblem("expired", fingerprint)
    assert servers.hosts() == [ADVANCED]


async def test_a_key_without_user_ids_counts_as_not_found(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """Keyservers strip the user IDs that nobody confirmed; such a key names nobody."""
    servers.publish(hkp_url(keys.reporter_fpr), without_user_ids(keys.reporter_cert))
    assert await search(house, make(), signed_by(keys.reporter_fpr)) == NoKey()
    assert servers.hosts().count(KEYSERVER) == 2


def without_user_ids(certificate: bytes) -> bytes:
    """Return a certificate as keys.openpgp.org serves one of which no address is confirmed."""
    kept, user_id = [], False
    for packet in walk(certificate):
        if packet.tag != 2:
            user_id = packet.tag == 13
        if not user_id:
            kept.append(certificate[packet.start : packet.end])
    return b"".join(kept)


def signed_by(
    fingerprint: str, verdict: SignatureVerdict = SignatureVerdict.UNKNOWN_KEY
) -> Message:
    """Return an encrypted mail with a signature of a certificate."""
    signature = Signature(verdict, fingerprint, Coverage.WHOLE, signer_is_sender=False)
    return encrypted(signatures=(signature,))


async def test_an_unknown_signer_is_looked_up_by_fingerprint(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """HKP is asked for the very certificate that the signature names."""
    servers.publish(hkp_url(keys.reporter_fpr), keys.reporter_cert)
    message = signed_by(keys.reporter_fpr)
    assert await search(house, make(), message, sources=[HKP]) == KeyFound(keys.reporter_fpr, HKP)


async def test_a_keyserver_gives_the_certificate_that_was_asked_for_and_no_other(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """It proves no user ID: any other certificate with the address may be anybody's."""
    message = signed_by(keys.stranger_fpr)
    servers.publish(hkp_url(keys.stranger_fpr), keys.reporter_cert)
    assert await search(house, make(), message, sources=[HKP]) == NoKey()
    assert await house.openpgp.certificate(keys.reporter_fpr) is None


@pytest.mark.parametrize("form", ["subkey", "armored", "among others"])
async def test_the_certificate_is_found_by_any_of_its_keys_and_however_it_is_given(
    servers: FakeKeyServers, make: Make, keys: Keys, form: str
) -> None:
    """A signature names the subkey that made it; a server may give out several at once."""
    signer, content = keys.reporter_fpr, keys.reporter_cert
    if form == "subkey":
        (signer,) = keys.reporter.subkeys(signer)
    elif form == "armored":
        content = keys.reporter.export(signer, armor=True)
    else:
        content = keys.stranger_cert + content
    servers.publish(hkp_url(signer), content)
    assert await found(make(), HKP, fingerprints=[signer]) == [keys.reporter_cert]


@pytest.mark.parametrize(
    "verdict", [one for one in SignatureVerdict if one is not SignatureVerdict.UNKNOWN_KEY]
)
async def test_no_other_signer_is_looked_up(
    servers: FakeKeyServers, make: Make, house: House, verdict: SignatureVerdict
) -> None:
    """Whom we know already nobody has to be asked for."""
    assert await search(house, make(), signed_by(FINGERPRINT, verdict), sources=[HKP]) == NoKey()
    assert servers.asked == []


async def test_nobody_is_asked_while_the_mail_brings_a_key(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """The first place that has one decides, and the network is behind the mail."""
    attached = FoundCertificate(CertificateSource.INSIDE, keys.reporter_cert)
    message = encrypted(certificates=(attached,))
    expected = KeyFound(keys.reporter_fpr, CertificateSource.INSIDE)
    assert await search(house, make(), message) == expected
    assert servers.asked == []


async def test_nobody_is_asked_while_the_ring_has_a_key(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """Nor while an operator has imported one."""
    house.ring.take(keys.reporter_cert)
    expected = KeyFound(keys.reporter_fpr, CertificateSource.KEYRING)
    assert await search(house, make()) == expected
    assert servers.asked == []


async def test_nobody_is_asked_where_a_key_is_bound(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """Not even when it cannot be used: the network challenges no binding."""
    case = await house.open_case(must_encrypt=True)
    source = CertificateSource.INSIDE
    await house.store.bind_key(
        case.id, KeyBinding(REPORTER, keys.reporter_fpr, source, house.clock.now())
    )
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    bound = await house.store.get_case(case.id)
    assert bound is not None
    answer = await find_key(encrypted(), REPORTER, bound, house.store, house.openpgp, finder=make())
    assert answer == KeyProblem("unknown-key", keys.reporter_fpr)
    assert servers.asked == []


async def test_the_order_is_the_operators(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """A directory before the mail, if so chosen; a place that was left out is not asked."""
    with fresh_ring() as ring:
        other = ring.make_key(f"Rita <{REPORTER}>")
        attached = FoundCertificate(CertificateSource.INSIDE, ring.export(other))
    message = encrypted(certificates=(attached,))
    servers.publish(WKD_ADVANCED, keys.reporter_cert)
    turned = (WKD, *(one for one in SOURCES if one is not WKD))
    assert await search(house, make(), message, sources=turned) == KeyFound(keys.reporter_fpr, WKD)
    servers.asked.clear()
    assert await search(house, make(), encrypted(), sources=[VKS, HKP]) == NoKey()
    assert servers.hosts() == [KEYSERVER]


async def test_what_nobody_can_read_is_told_only_of_what_the_reporter_sent(
    servers: FakeKeyServers, make: Make, keys: Keys, house: House
) -> None:
    """A broken key of version 6 in the mail is explained; on a server it is like nothing at all."""
    broken = b"\xc6\x28\x06" + bytes(4) + b"\x1b" + bytes(34)
    servers.publish(WKD_ADVANCED, broken)
    assert await found(make()) == [broken]
    assert await search(house, make()) == NoKey()
    attached = FoundCertificate(CertificateSource.INSIDE, broken)
    message = encrypted(certificates=(attached,))
    assert await search(house, make(), message) == KeyProblem("unsupported-version", "")
