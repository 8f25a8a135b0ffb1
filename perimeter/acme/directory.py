"""A CA: its directory, the account there, and orders (RFC 8555), through the library acme. Everything here blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

import perimeter
from perimeter.acme.fault import AcmeFault
from perimeter.acme.pending import Proof
from perimeter.acme.session import BoundedSession, trusted
from perimeter.audit.escaping import escape_line
from perimeter.config.site.acme import AcmeSettings

Show = Callable[[Sequence[Proof]], None]
"""Shows these proofs to the CA, in every process of the gateway, and no others. Returns when that is so."""

_LONGEST_TEXT: Final = 300
_TRIES: Final = 3


@challenges.ChallengeResponse.register
class _TlsAlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@challenges.Challenge.register
class _TlsAlpn(challenges.KeyAuthorizationChallenge):
    """The challenge tls-alpn-01 (RFC 8737), which the library has no more."""

    response_cls = _TlsAlpnResponse
    typ = response_cls.typ

    def validation(self, account_key: JWK, **kwargs: Any) -> str:
        """What the certificate of the challenge contains the digest of."""
        return self.key_authorization(account_key)


_KINDS: Final[dict[str, type[challenges.KeyAuthorizationChallenge]]] = {
    "http-01": challenges.HTTP01,
    "tls-alpn-01": _TlsAlpn,
}


class _Order(messages.NewOrder):
    """A new order that replaces an earlier certificate (RFC 9773, section 5)."""

    replaces: str | None = field("replaces", omitempty=True)


class _Network(client.ClientNetwork):
    """Repeats a request whose nonce the CA does not accept (RFC 8555, section 6.5), more often than the library does."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(_TRIES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class Directory:
    """The directory of ``settings``, with the account of ``key``. ``seconds`` are the time for all that is asked of it."""

    def __init__(self, settings: AcmeSettings, key: ec.EllipticCurvePrivateKey, seconds: float) -> None:
        self._settings = settings
        self._key = JWKEC(key=key)
        self._until = time.monotonic() + seconds
        network = _Network(
            self._key,
            alg=ES256,
            verify_ssl=trusted(settings.ca_certificate),  # type: ignore[arg-type]  # requests takes the path of a file
            user_agent=f"Perimeter/{perimeter.__version__}",
        )
        network.session = self._session = BoundedSession(self._until)
        with self._faults():
            self._client = client.ClientV2(client.ClientV2.get_directory(settings.directory, network), network)

    @property
    def asks_for_key_id(self) -> bool:
        """Whether a new account needs ``eab_key_id``."""
        return bool(self._client.external_account_required())

    @property
    def pause(self) -> float:
        """The seconds for which the directory wants to be left alone; 0 if it has not said so."""
        return self._session.pause

    def sign_in(self) -> None:
        """Use the account of the key, and make one if there is none. Raises `AcmeFault`."""
        settings = self._settings
        contact = tuple(f"mailto:{address}" for address in settings.contact)
        bound = None
        if settings.eab_key_id:
            bound = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), settings.eab_key_id, settings.eab_key, self._client.directory
            )
        wanted = messages.NewRegistration(
            contact=contact, terms_of_service_agreed=True, **({} if bound is None else {"external_account_binding": bound})
        )
        with self._faults():
            try:
                self._client.new_account(wanted)
            except errors.ConflictError as known:
                account = messages.RegistrationResource(body=messages.Registration(), uri=known.location)
                account = self._client.query_registration(account)
                if set(account.body.contact or ()) != set(contact):
                    self._client.update_registration(account, messages.Registration(contact=contact))

    def order(self, request: x509.CertificateSigningRequest, names: Sequence[str], replaces: str, show: Show) -> bytes:
        """The certificate chain for ``request``, in PEM. ``replaces`` is the id of an earlier certificate, or "".

        Raises `AcmeFault`.
        """
        with self._faults():
            order = self._new_order(request, names, replaces)
            try:
                self._prove(order.authorizations, show)
                deadline = datetime.now() + timedelta(seconds=max(0.0, self._until - time.monotonic()))  # the library's
                chain = self._client.poll_and_finalize(order, deadline).fullchain_pem
            finally:
                show(())
        return str(chain).encode("ascii", "replace")

    def _new_order(self, request: x509.CertificateSigningRequest, names: Sequence[str], replaces: str) -> Any:
        acme = self._client
        known = replaces if "renewalInfo" in acme.directory.to_partial_json() else ""
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        wanted = _Order(identifiers=identifiers, **({"replaces": known} if known else {}))
        try:
            answer = acme._post(acme.directory["newOrder"], wanted)
        except (errors.ConflictError, messages.Error):
            if not known:
                raise
            # the CA does not know the earlier certificate, or another order has replaced it already
            answer = acme._post(acme.directory["newOrder"], _Order(identifiers=identifiers))
        body = messages.Order.from_json(answer.json())
        authorizations = [acme._authzr_from_response(acme._post_as_get(url), uri=url) for url in body.authorizations]
        return messages.OrderResource(
            body=body,
            uri=answer.headers.get("Location"),
            authorizations=authorizations,
            csr_pem=request.public_bytes(Encoding.PEM),
        )

    def _prove(self, authorizations: Iterable[Any], show: Show) -> None:
        """Show the proof of every name that is not proved yet, then let the CA look."""
        kind = _KINDS[self._settings.challenge]
        chosen = []
        for authorization in authorizations:
            body = authorization.body
            if body.status == messages.STATUS_VALID:
                continue
            offered = next((one for one in body.challenges if isinstance(one.chall, kind)), None)
            if offered is None:
                raise AcmeFault(f"the CA does not offer {self._settings.challenge} for {body.identifier.value}")
            chosen.append((body.identifier.value, offered))
        show([self._proof(name, offered) for name, offered in chosen])
        for _, offered in chosen:
            self._client.answer_challenge(offered, offered.chall.response(self._key))

    def _proof(self, name: str, offered: Any) -> Proof:
        return Proof(
            self._settings.challenge.value, name, offered.chall.encode("token"), offered.chall.key_authorization(self._key)
        )

    def suggestion(self, certificate: x509.Certificate) -> tuple[float, float]:
        """When the CA suggests to renew ``certificate`` (epoch seconds; 0 if it suggests nothing), and in how many seconds to ask
        again (RFC 9773, section 4). Raises `AcmeFault`.
        """
        with self._faults():
            moment, again = self._client.renewal_time(certificate.public_bytes(Encoding.PEM))
        wait = (again - datetime.now()).total_seconds()  # the library's
        return (0.0 if moment is None else moment.timestamp()), wait

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Every exception of the library as an `AcmeFault`: an answer of the CA can have any form."""
        try:
            yield
        except AcmeFault:
            raise
        except Exception as error:
            raise AcmeFault(escape_line(_words(error))[:_LONGEST_TEXT]) from None


def certificate_id(certificate: x509.Certificate) -> str:
    """The id of a certificate in questions and orders (RFC 9773, section 4.1); "" if it does not say which key has signed it."""
    try:
        return str(client._renewal_info_path_component(certificate))
    except (x509.ExtensionNotFound, TypeError):
        return ""


def _words(error: Exception) -> str:
    if isinstance(error, errors.ValidationError):
        failed = [
            f"{one.body.identifier.value}: {_words(challenge.error)}"
            for one in error.failed_authzrs
            for challenge in one.body.challenges
            if challenge.error is not None
        ]
        return f"the CA could not verify {'; '.join(failed)}"
    if isinstance(error, errors.IssuanceError):
        return _words(error.error)
    if isinstance(error, messages.Error):
        return str(error.detail or error.description or error.typ)
    if isinstance(error, errors.TimeoutError | requests.Timeout):
        return "the CA did not answer in time"
    if isinstance(error, requests.exceptions.SSLError) and "certificate verify failed" in str(error).lower():
        return "the certificate of the directory cannot be verified: see ca_certificate in [acme]"
    if isinstance(error, requests.ConnectionError):  # also a handshake that fails in another way
        return "no connection to the directory is possible"
    if isinstance(error, requests.RequestException):
        return str(error)
    return f"the CA gave an unexpected answer ({type(error).__name__})"
