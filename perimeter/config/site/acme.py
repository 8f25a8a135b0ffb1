"""``[acme]``: certificates that the gateway gets by itself (RFC 8555), for listeners with ``acme_names``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BOOLEAN, SECRET, TEXT, BadValue, Datatype, file_path, list_of, one_of, optional
from perimeter.config.language.net_types import URL, checked_host
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings

LETS_ENCRYPT: Final = "https://acme-v02.api.letsencrypt.org/directory"

MOST_NAMES: Final = 100
"""Names of one certificate: Let's Encrypt, for example, issues none with more."""

_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]+@[A-Za-z0-9.-]+")
_LONGEST_FILE: Final = 200
"""Characters of a name in the name of a file, which may have 255 and gets some more while it is written."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class ChallengeKind(StrEnum):
    """How the gateway proves to the directory that a name leads to it (RFC 8555, section 8.3; RFC 8737)."""

    HTTP_01 = "http-01"
    TLS_ALPN_01 = "tls-alpn-01"


def _name(text: str, base: Path) -> str:
    if text.startswith("*."):
        raise BadValue(
            "expected the name of one host: a wildcard would need the challenge dns-01, which is not known here", text[2:]
        )
    name = checked_host(text)
    if "." not in name or name.startswith("[") or name.rpartition(".")[2].isdigit():
        raise BadValue("expected a host name that is known in DNS, such as gw.example.com")
    return name


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) > MOST_NAMES:
        raise BadValue(f"expected at most {MOST_NAMES} names, not {len(names)}", complete=True)
    return tuple(dict.fromkeys(names))


def _mail(text: str, base: Path) -> str:
    address = text.removeprefix("mailto:")
    if not _MAIL.fullmatch(address):
        raise BadValue("expected an e-mail address such as webmaster@example.com")
    return address


def _directory(text: str, base: Path) -> str:
    if not text.lower().startswith("https://"):
        raise BadValue("expected an https:// URL")
    return URL.convert(text, base)


ACME_NAMES: Datatype[tuple[str, ...]] = list_of(Datatype("host name", _name, ""), whole=_names)


@attrs.frozen
class AcmeSettings(Settings):
    """``[acme]``."""

    directory: str = option(
        Datatype("URL", _directory, ""),
        "URL of the directory of the CA; the default is that of Let's Encrypt",
        default=LETS_ENCRYPT,
    )
    terms_agreed: bool = option(
        BOOLEAN,
        "`yes`: the operator has read the terms of service of the CA, to which its directory refers, and agrees to them. "
        "Required for `acme_names`",
        default="no",
    )
    contact: tuple[str, ...] = option(
        list_of(Datatype("e-mail address", _mail, "")), "e-mail addresses that the CA may write to", default=""
    )
    challenge: ChallengeKind = option(
        one_of(ChallengeKind),
        "how the CA checks that the names lead to the gateway. `http-01`: it connects to port 80 of each name, which has to lead "
        "to a listener without TLS (`serve = redirect` or `gateway`); `tls-alpn-01`: it connects to port 443 of each name, which "
        "has to lead to the listener with the names",
        default="http-01",
    )
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "PEM file of CAs that verify the directory itself, for a CA inside the own network; not set: the CAs of the system",
        default="",
    )
    eab_key_id: str = option(
        TEXT, "key identifier of the account at the CA, if the CA asks for one (external account binding)", default=""
    )
    eab_key: str = option(SECRET, "the key that belongs to `eab_key_id`, in base64url as the CA shows it", default="")

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(AcmeSettings)
        section.needs(its.eab_key_id, its.eab_key)
        section.needs(its.eab_key, its.eab_key_id)
        if self.eab_key and (not _BASE64URL.fullmatch(self.eab_key) or len(self.eab_key.rstrip("=")) % 4 == 1):
            section.problem(its.eab_key, "is not base64url: letters, digits, - and _")


def directory_of(state_dir: Path) -> Path:
    """Where the account keys, certificates and records of ``[acme]`` are."""
    return state_dir / "acme"


def certificate_file(state_dir: Path, names: Iterable[str]) -> Path:
    """The file of the certificate for ``names``, with its private key. The first name, or its beginning, gives it its name."""
    first = next(iter(names))
    if len(first) > _LONGEST_FILE:
        first = f"{first[: _LONGEST_FILE - 17]}-{hashlib.sha256(first.encode('ascii')).hexdigest()[:16]}"
    return directory_of(state_dir) / f"{first}.pem"


KIND = SectionKind(
    "acme",
    AcmeSettings,
    "Certificates that the gateway gets and renews by itself, by the protocol ACME (RFC 8555). `acme_names` of a listener names "
    "the hosts. Needs the extra `perimeter-gateway[acme]`.",
    "terms_agreed = yes\ncontact = webmaster@example.com\n",
)
