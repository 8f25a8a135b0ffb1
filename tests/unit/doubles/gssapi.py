"""The part of the package ``gssapi`` that the gateway uses, without a library: tokens are looked up in a dictionary."""

from __future__ import annotations

from typing import Any

import attrs

KERBEROS = "1.2.840.113554.1.2.2"


@attrs.frozen
class Oid:
    dotted_form: str

    @classmethod
    def from_int_seq(cls, text: str) -> Oid:
        return cls(text)


class RequirementFlag:
    anonymity = "anonymity"


class NameType:
    kerberos_principal = "kerberos_principal"


@attrs.frozen
class Accepted:
    """The outcome of a token; ``name`` is None for a context that is not complete."""

    name: bytes | None = b"joe@EXAMPLE.ORG"
    mechanism: str | None = KERBEROS
    lifetime: int = 600
    more_steps: bool = False
    flags: frozenset[str] = frozenset()

    @property
    def initiator_name(self) -> bytes | None:
        return self.name

    @property
    def mech(self) -> Oid | None:
        return None if self.mechanism is None else Oid(self.mechanism)


@attrs.frozen
class _Acquired:
    creds: tuple[Any, ...]


@attrs.frozen
class _Shown:
    name: bytes


class GSSError(Exception):
    """Statuses of the minor code are ``text``, those of the major code ``major``."""

    maj_code, min_code = 851968, 100005

    def __init__(self, text: str, major: str = "Unspecified GSS failure.") -> None:
        super().__init__(text)
        self.text = text
        self.major = major

    def get_all_statuses(self, code: int, is_maj: bool) -> list[str]:
        assert code == (self.maj_code if is_maj else self.min_code)
        text = self.major if is_maj else self.text
        return text.split("; ") if text else []


class Gssapi:
    """``tokens`` are outcomes of tokens: an `Accepted`, or a `GSSError`. ``keytab_fault`` is why there are no keys."""

    OID = Oid
    NameType = NameType
    RequirementFlag = RequirementFlag
    GSSError = GSSError

    def __init__(self, **tokens: Accepted | GSSError) -> None:
        self.tokens = tokens
        self.keytab_fault = ""
        self.negotiates: list[Oid] = []

    @property
    def raw(self) -> Gssapi:
        return self

    def import_name(self, name: bytes, name_type: str) -> tuple[bytes, str]:
        return name, name_type

    def acquire_cred_from(self, store: dict[bytes, bytes], *, name: Any, mechs: list[Oid], usage: str) -> _Acquired:
        if self.keytab_fault:
            raise GSSError(self.keytab_fault)
        return _Acquired((store, name, [one.dotted_form for one in mechs], usage))

    def set_neg_mechs(self, keys: Any, mechs: list[Oid]) -> None:
        self.negotiates = mechs

    def accept_sec_context(self, token: bytes, *, acceptor_creds: Any) -> Accepted:
        self.used = acceptor_creds
        outcome = self.tokens[token.decode("ascii")]
        if isinstance(outcome, GSSError):
            raise outcome
        return outcome

    def display_name(self, name: bytes, *, name_type: bool) -> _Shown:
        assert not name_type
        return _Shown(name)
