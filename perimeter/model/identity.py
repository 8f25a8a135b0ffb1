"""Somebody, what he shows, and what came of it: credentials, principals, and the tokens that they are known by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from perimeter.model.wire import HeaderBlock

TOKEN_PREFIX = "perimeter_"  # noqa: S105  # what a token begins with, and none itself
"""What every API token begins with, so that scanners find one that was published by mistake, and the audit log shows none."""


@attrs.frozen(slots=True)
class Restriction:
    """What an API token may be used for: these routes, by these methods, from these networks. Of each, empty is any."""

    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


@attrs.frozen(slots=True)
class Grant:
    """The token by which a principal is known: what revocation and the token's own restriction go by.

    ``id`` is the ``jti`` of an access token, or with ``stored`` the id of an API token. Times are seconds since the epoch;
    ``expires`` is infinite for a token that does not expire.
    """

    id: str
    issued: float
    expires: float
    stored: bool = False
    restriction: Restriction | None = None


@attrs.frozen(slots=True, cache_hash=True)
class Principal:
    """Somebody whose identity was established: the name is unique within the realm, never across realms.

    ``authenticator`` is the configured name of the authenticator that vouched (or ``token`` for a token of the gateway's own,
    and ``grant`` says which one it was).
    """

    username: str
    realm: str
    roles: tuple[str, ...] = ()
    authenticator: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    scopes: Mapping[str, Sequence[str]] = attrs.field(factory=dict, eq=False)
    grant: Grant | None = attrs.field(default=None, eq=False)


@attrs.frozen(slots=True)
class BasicCredentials:
    """A user name and password (RFC 7617). The password never shows in a repr."""

    username: str
    password: str = attrs.field(repr=False)


@attrs.frozen(slots=True)
class BearerCredentials:
    """An opaque token (RFC 6750). It never shows in a repr."""

    token: str = attrs.field(repr=False)


@attrs.frozen(slots=True)
class ConnectionCredentials:
    """No Authorization at all: whoever vouches goes by the connection, its certificate or what its peer says of the user."""


@attrs.frozen(slots=True)
class Recollection:
    """No credentials, but a question: what is known now of the user of exactly this name, whose API token was shown."""

    username: str


Credentials = BasicCredentials | BearerCredentials | ConnectionCredentials | Recollection


def discard_explanation(step: str) -> None:
    """Takes an explanation that nobody asked for."""


@attrs.frozen(slots=True)
class AuthenticationRequest:
    """The circumstances of an authentication: who asks from where, and to which realms the client narrowed it.

    ``address`` is the audited one, ``peer`` that of the connection itself, which no header can move ("" where there is none).
    ``realms`` is empty when the client did not narrow (``X-Auth-Realm``). ``headers`` and ``certificate`` (of a verified chain)
    come with `ConnectionCredentials`. ``explain`` takes a sentence for each step of the authentication, for ``perimeter login``:
    which server, which filter, which groups, why refused; never a secret.
    """

    address: str
    realms: frozenset[str] = frozenset()
    peer: str = ""
    headers: HeaderBlock | None = attrs.field(default=None, eq=False, repr=False)
    certificate: Certificate | None = attrs.field(default=None, eq=False, repr=False)
    explain: Callable[[str], None] = attrs.field(default=discard_explanation, eq=False, repr=False)
