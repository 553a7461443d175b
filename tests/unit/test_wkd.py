"""Under which URLs is a certificate looked for?  Pure text, compared with the specifications."""

from __future__ import annotations

import pytest

from secbridge.openpgp.keyservers import by_address_url, by_fingerprint_url, is_full_fingerprint
from secbridge.openpgp.wkd import DirectoryUrls, directory_urls, hashed


def test_the_example_of_the_draft_comes_out_to_the_letter() -> None:
    """draft-koch-openpgp-webkey-service, section 3.1: Joe.Doe@Example.ORG, both methods."""
    assert directory_urls("Joe.Doe@Example.ORG") == DirectoryUrls(
        advanced=(
            "https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/"
            "iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
        ),
        direct=(
            "https://example.org/.well-known/openpgpkey/hu/"
            "iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
        ),
    )


def test_only_ascii_letters_are_lowered_before_they_are_hashed() -> None:
    """The draft maps A to Z and nothing else."""
    assert hashed("JOE.DOE") == hashed("joe.doe")
    assert hashed("JÖRG") == hashed("jÖrg")
    assert hashed("jÖrg") != hashed("jörg")


def test_what_a_local_part_may_hold_does_not_change_the_path() -> None:
    """Slashes, question marks and ampersands of a local part are escaped behind ``l=``."""
    urls = directory_urls("a/b?c&d=e+f@example.org")
    assert urls is not None
    assert urls.advanced.partition("?")[2] == "l=a%2Fb%3Fc%26d%3De%2Bf"


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "localhost",
        "[127.0.0.1]",
        "127.0.0.1",
        "127.1",
        "0x7f.0x1",
        "2130706433",
        "example.org:8443",
        "user@example.org/",
        "example.org/path",
        "exa mple.org",
        "-example.org",
        "example-.org",
        "example..org",
        ".example.org",
        "example.org.",
        "exam_ple.org",
        "bücher.example",
        "example.org#fragment",
        "a" * 64 + ".example.org",
        ".".join(["a" * 60] * 4),
    ],
)
def test_a_domain_that_is_no_plain_host_name_has_no_directory(domain: str) -> None:
    """Literals, numbers, ports, other letters, and what is too long for the sub-domain."""
    assert directory_urls(f"joe@{domain}") is None


@pytest.mark.parametrize("domain", ["xn--bcher-kva.example", "mail.example.org", "a.museum"])
def test_a_plain_host_name_has_a_directory(domain: str) -> None:
    """A-labels of an internationalised name are plain host names."""
    urls = directory_urls(f"joe@{domain}")
    assert urls is not None
    assert urls.direct.startswith(f"https://{domain}/.well-known/openpgpkey/hu/")


def test_an_address_without_a_local_part_has_no_directory() -> None:
    """There is nobody to look for."""
    assert directory_urls("@example.org") is None


def test_a_keyserver_is_asked_by_the_whole_address() -> None:
    """VKS: the address is one segment of the path."""
    assert (
        by_address_url("https://keys.example.org", "a/b+c@example.net")
        == "https://keys.example.org/vks/v1/by-email/a%2Fb%2Bc%40example.net"
    )


def test_a_keyserver_is_asked_by_the_whole_fingerprint() -> None:
    """HKP: machine-readable, with the prefix that says that it is hexadecimal."""
    assert by_fingerprint_url("https://keys.example.org:8443", "A" * 40) == (
        f"https://keys.example.org:8443/pks/lookup?op=get&options=mr&search=0x{'A' * 40}"
    )


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("0123456789ABCDEF0123456789ABCDEF01234567", True),
        ("89ABCDEF01234567", False),
        ("0123456789abcdef0123456789abcdef01234567", False),
        ("0123456789ABCDEF0123456789ABCDEF01234567\n", False),
        ("A" * 64, False),
        ("", False),
    ],
)
def test_a_key_id_is_no_fingerprint(text: str, full: bool) -> None:
    """Anybody can make a key with a given id; what gpg names is 40 digits in upper case."""
    assert is_full_fingerprint(text) is full
