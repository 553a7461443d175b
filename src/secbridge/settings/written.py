"""How does an operator write a size, a time, an address, a place to listen?  As plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

base_dir: ContextVar[Path] = ContextVar("base_dir")
"""The folder of the configuration file that is being read: relative paths start there."""


_SIZE_UNITS = {
    "": 1, "b": 1,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
}  # fmt: skip
_TIME_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(value: object) -> int:
    """Return octets from a whole number or from text such as ``50 MiB``."""
    return int(_scaled(value, _SIZE_UNITS, 'write octets, or a text such as "50 MiB"'))


def parse_duration(value: object) -> timedelta:
    """Return a time span from seconds or from text such as ``30s``, ``5m``, ``2h``, ``7d``."""
    if isinstance(value, timedelta):
        return value
    return timedelta(seconds=_scaled(value, _TIME_UNITS, 'write seconds, or a text such as "7d"'))


def _scaled(value: object, units: Mapping[str, float], mend: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number, unit = float(value), ""
    elif isinstance(value, str) and (match := _NUMBER_AND_UNIT.fullmatch(value)):
        number, unit = float(match[1]), match[2].lower()
    else:
        raise ValueError(mend)
    if unit not in units:
        raise ValueError(f"{mend}; units are {', '.join(filter(None, units))}")
    if not 0 < number * units[unit] < 1e15:  # also refuses nan and infinity
        raise ValueError("must be greater than zero")
    return number * units[unit]


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """``host:port`` or ``[v6]:port``; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """``unix:/path`` of a stream socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class FdEndpoint:
    """``fd:N``: a listening socket that was handed to us (systemd passes them from 3 on)."""

    number: int

    def __str__(self) -> str:
        return f"fd:{self.number}"


Endpoint = TcpEndpoint | UnixEndpoint | FdEndpoint

_ENDPOINT_HELP = 'write "host:port", "[v6]:port", "unix:/path" or "fd:N"'
_HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:/\s]+)):(\d{1,5})", re.ASCII)


def parse_endpoint(value: object) -> Endpoint:
    """Return where to listen from the text that an operator writes."""
    if isinstance(value, TcpEndpoint | UnixEndpoint | FdEndpoint):
        return value
    if not isinstance(value, str):
        raise ValueError(_ENDPOINT_HELP)  # noqa: TRY004  # pydantic collects ValueError only
    scheme, _, rest = value.partition(":")
    if scheme == "unix" and rest:
        return UnixEndpoint(_from_base(Path(rest)))
    if scheme == "fd" and rest.isdecimal():
        return FdEndpoint(int(rest))
    match = _HOST_AND_PORT.fullmatch(value)
    if match is None or int(match[3]) > 65535:  # the largest port there is
        raise ValueError(_ENDPOINT_HELP)
    return TcpEndpoint(match[1] or match[2], int(match[3]))


_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_KEY_SERVER = re.compile(rf"(?:https://)?({_HOST})(?::(\d{{1,5}}))?/?", re.ASCII)
_SOCKS_PROXY = re.compile(rf"socks5h?://(?:{_HOST}|\[[0-9A-Fa-f:.]+\]):(\d{{1,5}})/?", re.ASCII)


def _key_server(value: object) -> str:
    match = _KEY_SERVER.fullmatch(str(value))
    if match is None or not _is_port(match[2] or "443"):
        raise ValueError('must be a host name such as "keys.openpgp.org", or "https://HOST:PORT"')
    port = f":{match[2]}" if match[2] else ""
    return f"https://{match[1].lower()}{port}"


def _socks_proxy(value: object) -> str:
    match = _SOCKS_PROXY.fullmatch(str(value))
    if match is None or not _is_port(match[1]):
        raise ValueError(
            'must be a SOCKS5 proxy without a login, such as "socks5h://127.0.0.1:9050"'
        )
    return str(value)


def _is_port(digits: str) -> bool:
    return 0 < int(digits) <= 65535  # the largest port there is


def _network(value: object) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    try:
        return ip_network(str(value))
    except ValueError:
        raise ValueError('write a network such as "192.0.2.0/24" or "2001:db8::/64"') from None


def _fingerprint(value: object) -> str:
    text = "".join(str(value).split()).upper().removeprefix("0X")
    if re.fullmatch(r"[0-9A-F]{40}", text):
        return text
    if re.fullmatch(r"[0-9A-F]{8,39}", text):
        raise ValueError(
            "is a short key id, which anybody can imitate; "
            "write the full fingerprint of 40 hex digits"
        )
    raise ValueError("must be a full fingerprint of 40 hex digits")


_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]+@[^\s@<>()\[\],;:\\\"\x00-\x1f\x7f]+")


def _address(value: object) -> str:
    text = str(value)
    local, _, domain = text.rpartition("@")
    if (
        not _ADDRESS.fullmatch(text) or len(local) > 64 or len(text) > 254
    ):  # RFC 5321 section 4.5.3.1
        raise ValueError('must be a plain mail address such as "security@example.org"')
    return f"{local}@{domain.lower()}"


def _alias_address(value: object) -> str:
    return _address(value).lower()


def _no_truth(value: object) -> object:
    """Refuse ``true`` as a number; the library would take it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic collects ValueError only
    return value


def _from_base(path: Path) -> Path:
    """Take relative paths from the folder of the configuration file."""
    return path if path.is_absolute() else base_dir.get(Path.cwd()) / path


Size = Annotated[int, BeforeValidator(parse_size)]
"""Octets, or text such as ``50 MiB``."""

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
"""Seconds, or text such as ``7d``."""

Count = Annotated[int, BeforeValidator(_no_truth), Field(ge=1)]
"""A whole number from 1 on."""

Port = Annotated[int, BeforeValidator(_no_truth), Field(ge=1, le=65535)]
"""A TCP port to connect to."""

Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
"""An IP network in CIDR notation."""

Listener = Annotated[TcpEndpoint | UnixEndpoint | FdEndpoint, PlainValidator(parse_endpoint)]
"""Where to listen."""

Fingerprint = Annotated[str, BeforeValidator(_fingerprint)]
"""A full v4 fingerprint; blanks between the digits are allowed when written."""

KeyServer = Annotated[str, BeforeValidator(_key_server)]
"""A keyserver as ``https://HOST[:PORT]``; a bare host name may be written."""

SocksProxy = Annotated[str, BeforeValidator(_socks_proxy)]
"""The URL of a SOCKS5 proxy, which resolves names whether ``socks5`` or ``socks5h`` is written."""

Address = Annotated[str, BeforeValidator(_address)]
"""An addr-spec; its domain is lower-cased."""

AliasAddress = Annotated[str, BeforeValidator(_alias_address)]
"""An address of ours, lower-cased as a whole."""

FilePath = Annotated[Path, AfterValidator(_from_base)]
"""A path; a relative one starts at the folder of the configuration file."""

CredentialName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
"""The name of a systemd credential (systemd.exec(5), LoadCredential=)."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, as far as its name or address tells."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
