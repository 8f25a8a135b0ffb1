"""Credentials, the principals they establish, and the tokens that stand for a principal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from math import inf
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from perimeter.model.wire import HeaderBlock

TOKEN_PREFIX = "perimeter_"  # noqa: S105  # the prefix of a token, not a token
"""The prefix of every API token. Scanners find tokens by it that were published by mistake, and the audit log redacts them."""


@attrs.frozen(slots=True)
class Restriction:
    """What an API token may be used for: these routes, these methods, from these networks. An empty set means any."""

    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()


class GrantKind(StrEnum):
    """What a grant is, which says where it is looked up: among access tokens, API tokens, or sessions of browsers."""

    ACCESS_TOKEN = "access token"  # noqa: S105
    API_TOKEN = "API token"  # noqa: S105
    SESSION = "session"


class SessionUse:
    """When a session was used last: ``at``, in epoch seconds; the end by idleness is counted from it. The gate notes each use.

    ``kept`` is the time that the store has. ``gap`` is the longest time without a use so far, in seconds, for routes that admit
    only shorter ones: a use of another route in between does not make up for it.
    """

    __slots__ = ("__weakref__", "at", "gap", "kept")

    def __init__(self, at: float) -> None:
        self.at = at
        self.kept = at
        self.gap = 0.0

    def copy(self) -> SessionUse:
        """The same values in another object."""
        other = SessionUse(self.at)
        other.kept, other.gap = self.kept, self.gap
        return other


@attrs.frozen(slots=True)
class Grant:
    """The token or session that established a principal. Revocation and the token's own restriction need it.

    ``id`` is the ``jti`` of an access token, or the id of an API token or a session. Times are seconds since the epoch.
    ``expires`` is infinite for a token that does not expire. ``use`` is set only for a session. ``second`` is when a second
    factor was shown, in the session or in that in which the API token was made; 0 if none was.
    """

    id: str
    issued: float
    expires: float
    kind: GrantKind = GrantKind.ACCESS_TOKEN
    restriction: Restriction | None = None
    use: SessionUse | None = attrs.field(default=None, eq=False, repr=False)
    second: float = attrs.field(default=0.0, eq=False)


@attrs.frozen(slots=True, cache_hash=True)
class Principal:
    """An authenticated user. The name is unique within the realm, but not across realms.

    ``authenticator`` is the configured name of the authenticator that established the identity. For a token that this gateway
    issued it is ``token``, and ``grant`` says which token it was. For a session it is the one that vouched at the sign-in.
    ``until`` is when the authenticator's word ends (epoch seconds): the expiry of a certificate or of another issuer's token.
    """

    username: str
    realm: str
    roles: tuple[str, ...] = ()
    authenticator: str = ""
    attributes: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    scopes: Mapping[str, Sequence[str]] = attrs.field(factory=dict, eq=False)
    grant: Grant | None = attrs.field(default=None, eq=False)
    until: float = attrs.field(default=inf, eq=False)


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
class NegotiateCredentials:
    """A token of SPNEGO or Kerberos (RFC 4559). It never shows in a repr."""

    token: bytes = attrs.field(repr=False)


@attrs.frozen(slots=True)
class ConnectionCredentials:
    """There is no Authorization header. An authenticator judges the connection: its certificate, or the headers that a trusted
    peer sets about the user."""


@attrs.frozen(slots=True)
class Recollection:
    """The user called exactly ``username`` has shown an API token: an authenticator looks up what it knows about them now."""

    username: str


@attrs.frozen(slots=True)
class VouchedCredentials:
    """A provider that signs people in elsewhere has vouched for ``principal`` (`perimeter.plugin.redirect`)."""

    principal: Principal


Credentials = (
    BasicCredentials | BearerCredentials | NegotiateCredentials | ConnectionCredentials | Recollection | VouchedCredentials
)


def discard_explanation(step: str) -> None:
    """Ignore the explanation of a step. This is the default of `AuthenticationRequest.explain`."""


@attrs.frozen(slots=True)
class AuthenticationRequest:
    """The circumstances of an authentication: the client's address, and the realms that the client asked for.

    ``address`` is the client's address as the audit log shows it. ``peer`` is the address of the connection itself, which no
    header can change ("" if there is no connection). ``realms`` is empty if the client named none (``X-Auth-Realm``).
    ``headers`` and ``certificate`` (of a verified chain) are set for `ConnectionCredentials` only. ``explain`` takes a sentence
    about each step of the authentication, for ``perimeter login``: which server, which filter, which groups, why refused. It
    never takes a secret.
    """

    address: str
    realms: frozenset[str] = frozenset()
    peer: str = ""
    headers: HeaderBlock | None = attrs.field(default=None, eq=False, repr=False)
    certificate: Certificate | None = attrs.field(default=None, eq=False, repr=False)
    explain: Callable[[str], None] = attrs.field(default=discard_explanation, eq=False, repr=False)
