"""Accepts tokens of SPNEGO (RFC 4178) and Kerberos (RFC 4121) with the keys of a keytab, by the package ``gssapi``.

The keytab is read for each token, which takes 0.05 of 0.25 ms: a keytab that was replaced counts at once, and one that cannot be
read is not mistaken for a wrong token. The library remembers the tokens that it has accepted in a file (the replay cache, in
``/var/tmp`` or ``KRB5RCACHENAME``), which all processes of a user share.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import attrs

from perimeter.auth.text import unfit_for_name
from perimeter.errors import Rejected, StartupError, Unavailable, Undecided

KERBEROS = "1.2.840.113554.1.2.2"
"""The mechanism Kerberos V5 (RFC 4121, section 1)."""

SPNEGO = "1.3.6.1.5.5.2"
"""The negotiation of a mechanism (RFC 4178)."""

_NTLM = b"NTLMSSP\0"
_LONGEST_DETAIL = 200
_SYSTEM_ERRORS = tuple(os.strerror(code) for code in errno.errorcode)


@attrs.frozen
class Ticket:
    """The ``principal`` of a client, and for how many ``seconds`` its ticket is still valid."""

    principal: str
    seconds: float


def load_gssapi() -> Any:
    """The package ``gssapi``. Raises `StartupError` without it, or without the library of Kerberos."""
    try:
        import gssapi
        import gssapi.raw
    except (ImportError, OSError) as error:
        raise StartupError(
            f"type = kerberos needs gssapi (pip install 'perimeter-gateway[kerberos]') and the library of MIT Kerberos: {error}"
        ) from None
    return gssapi


class Acceptor:
    """Accepts tokens with the keys in ``keytab``: those of the principal ``service``, or with "" all of them.

    ``gssapi`` is the package. All methods block, for a thread.
    """

    def __init__(self, keytab: Path, service: str, gssapi: Any) -> None:
        self._keytab = keytab
        self._service = service
        self._gssapi = gssapi
        self._kerberos = gssapi.OID.from_int_seq(KERBEROS)
        self._spnego = gssapi.OID.from_int_seq(SPNEGO)

    def check(self) -> None:
        """Return if the keytab has a key of the service. Raises `Unavailable`."""
        self._keys()

    def accept(self, token: bytes) -> Ticket:
        """What ``token`` proves. Raises `Rejected` for a wrong one, `Unavailable` if the gateway could not find out."""
        if token.startswith(_NTLM):
            raise Rejected("the client sent NTLM: it has no Kerberos ticket for this service")
        raw = self._gssapi.raw
        try:
            done = raw.accept_sec_context(token, acceptor_creds=self._keys())
        except raw.GSSError as error:
            text = _text(error)
            # The codes of SPNEGO do not say which error of Kerberos it was.
            if text.startswith(_SYSTEM_ERRORS):
                raise Undecided(f"a Kerberos ticket could not be verified: {text}") from None
            raise Rejected(f"the Kerberos ticket is not accepted: {text}") from None
        if done.more_steps or done.mech is None or done.mech.dotted_form != KERBEROS:
            raise Rejected("the client does not prove its identity by Kerberos in one message")
        if done.initiator_name is None or self._gssapi.RequirementFlag.anonymity in done.flags:
            raise Rejected("the Kerberos ticket is anonymous")
        try:
            principal = bytes(raw.display_name(done.initiator_name, name_type=False).name).decode("utf-8")
        except UnicodeDecodeError:
            raise Rejected("the Kerberos ticket has a name that is not UTF-8") from None
        return Ticket(principal, float(done.lifetime))

    def _keys(self) -> Any:
        raw = self._gssapi.raw
        try:
            name = None
            if self._service:
                name = raw.import_name(self._service.encode("utf-8"), self._gssapi.NameType.kerberos_principal)
            store = {b"keytab": os.fsencode(self._keytab)}
            keys = raw.acquire_cred_from(store, name=name, mechs=[self._kerberos, self._spnego], usage="accept").creds
            raw.set_neg_mechs(keys, [self._kerberos])
        except raw.GSSError as error:
            raise Unavailable(f"the keytab cannot be used: {_text(error)}") from None
        return keys


def _text(error: Any) -> str:
    """What the library says about an error. It may contain the name of a service, which the client chooses."""
    words = error.get_all_statuses(error.min_code, False) or error.get_all_statuses(error.maj_code, True)
    text = "; ".join(words)
    return "".join("?" if unfit_for_name(letter) else letter for letter in text)[:_LONGEST_DETAIL]
