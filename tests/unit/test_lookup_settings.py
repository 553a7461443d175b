"""Where are keys looked for, as the operator wrote it?  Servers, a proxy, and an order."""

from __future__ import annotations

from pathlib import Path

import pytest

from secbridge.errors import ConfigError
from secbridge.model.message import CertificateSource
from secbridge.pipeline.keyfinding import ASKED, SOURCES
from secbridge.settings import Settings, load

ALIAS = """
[[alias]]
address = "security@example.org"
role_keys = ["0123456789ABCDEF0123456789ABCDEF01234567"]
"""


def written(folder: Path, lookup: str) -> Settings:
    """Return the settings of a file with this table."""
    path = folder / "secbridge.toml"
    path.write_text(f"[lookup]\n{lookup}\n{ALIAS}")
    return load(path)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("keys.openpgp.org", "https://keys.openpgp.org"),
        ("Keys.OpenPGP.org:8443", "https://keys.openpgp.org:8443"),
        ("https://keys.example.org", "https://keys.example.org"),
        ("https://keys.example.org/", "https://keys.example.org"),
        ("keyserver", "https://keyserver"),
    ],
)
def test_a_keyserver_is_a_name_or_an_https_url(tmp_path: Path, text: str, origin: str) -> None:
    """Whatever is written, HTTPS is spoken."""
    assert written(tmp_path, f'vks_server = "{text}"').lookup.vks_server == origin
    assert written(tmp_path, f'hkp_server = "{text}"').lookup.hkp_server == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://keys.example.org",
        "hkps://keys.example.org",
        "https://user:hunter2@keys.example.org",
        "https://keys.example.org/pks",
        "keys..example.org",
        "keys.example.org:0",
        "keys.example.org:65536",
        "-keys.example.org",
        "bücher.example",
    ],
)
def test_anything_else_is_no_keyserver(tmp_path: Path, text: str) -> None:
    """No other scheme, no login, no path: a slip of the pen must not lead elsewhere."""
    with pytest.raises(ConfigError, match="must be a host name"):
        written(tmp_path, f'vks_server = "{text}"')


@pytest.mark.parametrize(
    "text", ["socks5h://127.0.0.1:9050", "socks5://proxy.example.org:1080", "socks5h://[::1]:9050"]
)
def test_a_proxy_speaks_socks5(tmp_path: Path, text: str) -> None:
    """By name or address, in either spelling."""
    assert written(tmp_path, f'proxy = "{text}"').lookup.proxy == text


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9050",
        "http://127.0.0.1:3128",
        "socks4://127.0.0.1:1080",
        "socks5h://user:hunter2@127.0.0.1:9050",
        "socks5h://127.0.0.1",
        "socks5h://127.0.0.1:65536",
    ],
)
def test_anything_else_is_no_proxy(tmp_path: Path, text: str) -> None:
    """An HTTP proxy learns the names as well, and a login is a secret."""
    with pytest.raises(ConfigError, match="must be a SOCKS5 proxy") as caught:
        written(tmp_path, f'proxy = "{text}"')
    assert "hunter2" not in str(caught.value)


def test_the_order_by_default_is_that_of_the_pipeline(tmp_path: Path) -> None:
    """With both keyservers named, all places are there, the network last."""
    named = 'vks_server = "keys.openpgp.org"\nhkp_server = "keys.openpgp.org"'
    assert written(tmp_path, named).key_sources() == SOURCES


def test_a_keyserver_without_a_name_is_left_out(tmp_path: Path) -> None:
    """By default only the directory of the reporter's own domain is asked."""
    outside = [source for source in written(tmp_path, "").key_sources() if source in ASKED]
    assert outside == [CertificateSource.WKD]


def test_the_off_switch_leaves_out_all_that_is_outside(tmp_path: Path) -> None:
    """Whatever else is configured."""
    sources = written(tmp_path, 'network = false\nvks_server = "keys.openpgp.org"').key_sources()
    assert sources == tuple(source for source in SOURCES if source not in ASKED)


def test_the_order_is_the_operators(tmp_path: Path) -> None:
    """Behind the bound one, which has no place of its own to be passed over at."""
    sources = written(tmp_path, 'sources = ["bound", "wkd", "attached-inside"]').key_sources()
    assert sources == (CertificateSource.WKD, CertificateSource.INSIDE)


@pytest.mark.parametrize("order", ["[]", '["wkd", "bound"]', '["wkd"]'])
def test_the_bound_key_is_always_first(tmp_path: Path, order: str) -> None:
    """Otherwise a stranger's key would answer a reporter whose key is known."""
    with pytest.raises(ConfigError, match='must begin with "bound"'):
        written(tmp_path, f"sources = {order}")


def test_a_place_is_named_once(tmp_path: Path) -> None:
    """Twice is a slip of the pen."""
    with pytest.raises(ConfigError, match="for the second time"):
        written(tmp_path, 'sources = ["bound", "wkd", "wkd"]')
