"""The options of ``type = kerberos``."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, file_path, list_of, one_of
from perimeter.config.language.name_types import NAME
from perimeter.config.language.option import option
from perimeter.config.language.settings import Settings


class LetterCase(StrEnum):
    """How the letters of principals become those of user names."""

    LOWER = "lower"
    EXACT = "exact"


_REALM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9][A-Za-z0-9.-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?")


def _realm(text: str, base: Path) -> str:
    if not _REALM_NAME.fullmatch(text):
        raise BadValue("expected the name of a Kerberos realm, such as EXAMPLE.ORG", text.rpartition("@")[2])
    return text


def _service(text: str, base: Path) -> str:
    if not _SERVICE_NAME.fullmatch(text):
        raise BadValue("expected a service such as HTTP/gateway.example.org")
    return text


_REALM: Datatype[str] = Datatype("Kerberos realm", _realm, "")
_SERVICE: Datatype[str] = Datatype("service", _service, "")


@attrs.frozen(kw_only=True)
class KerberosSettings(Settings):
    """``type = kerberos``."""

    keytab: Path = option(file_path("file"), "keytab with the gateway's own key; it is read for each ticket")
    kerberos_realm: str = option(
        _REALM, "the Kerberos realm of the users, such as `EXAMPLE.ORG`: `joe@EXAMPLE.ORG` is `joe`; others are refused"
    )
    service: str = option(
        _SERVICE,
        "the service that tickets must be for, such as `HTTP/gateway.example.org`; not set: any that has a key in the keytab",
        default="",
    )
    letter_case: LetterCase = option(
        one_of(LetterCase),
        "`lower`: user names are in lower case, because `JOE` and `joe` are one user of Active Directory; `exact`: they are two",
        default="lower",
    )
    roles: tuple[str, ...] = option(list_of(NAME), "roles of every user; augmenters add others", default="")

    @property
    def principal(self) -> str:
        """The service with its realm; "" for any."""
        return self.service if "@" in self.service or not self.service else f"{self.service}@{self.kerberos_realm}"
