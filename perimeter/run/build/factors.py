"""Second factors of one configuration: what their pages work on."""

from __future__ import annotations

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.factor_checks import passkey_hosts
from perimeter.config.site.listener import Serve
from perimeter.config.site.second_factor import Enroll, Method
from perimeter.factors.book import FactorBook
from perimeter.factors.challenges import Challenges
from perimeter.factors.pending import PENDING
from perimeter.factors.pending_book import PendingBook
from perimeter.factors.stored import FACTORS
from perimeter.factors.webauthn import RelyingParty
from perimeter.gate.factors import FactorDemand
from perimeter.model import Principal
from perimeter.run.build.authentication import throttle_of
from perimeter.run.build.prepared import Prepared
from perimeter.run.build.runtime import Runtime
from perimeter.sessions.stored import SESSIONS
from perimeter.state.once import ONCE
from perimeter.web.endpoints.account.factors import FactorParts
from perimeter.web.endpoints.proofs import SecondFactorParts
from perimeter.web.passkeys import Passkeys

_HTTPS = 443


def factor_parts(prepared: Prepared, runtime: Runtime, demand: FactorDemand | None) -> FactorParts | None:
    """What the pages of second factors work on; None without ``[second_factor]``. ``demand`` is that of roles."""
    config, key, state, clock = prepared.config, prepared.secrets, prepared.state.state, runtime.reactor
    settings = config.second_factor
    if not settings.methods:
        return None
    claims = state.view(ONCE)
    book = FactorBook(state.view(FACTORS), key, claims, clock)
    challenges = Challenges(key, claims, clock)
    with_passkeys = Method.WEBAUTHN in settings.methods
    passkeys = Passkeys(relying_party(config), book, key, challenges, runtime.offload) if with_passkeys else None

    def demanded(user: Principal) -> bool:
        return demand is not None and demand.concerns(user)

    return FactorParts(
        book,
        challenges,
        runtime.offload,
        passkeys,
        Method.TOTP in settings.methods,
        settings.issuer or site_title(config),
        demanded,
        settings.enroll is Enroll.CODE,
    )


def second_factor_parts(prepared: Prepared, runtime: Runtime, chain: AuthenticatorChain) -> SecondFactorParts:
    """What the page works on that asks for a second factor. Wrong codes are counted where ``chain`` counts wrong passwords."""
    config, state, clock = prepared.config, prepared.state.state, runtime.reactor
    pending = PendingBook(state.view(PENDING), state.view(SESSIONS), state.view(ONCE), clock)
    return SecondFactorParts(pending, chain.throttle or throttle_of(config, runtime))


def relying_party(config: SiteConfig) -> RelyingParty:
    """The site for which authenticators keep passkeys: its id, its name, and the origins of its pages, that of users first.

    No header decides on the origins: a page at another port of the host cannot use a passkey of the site.
    """
    hosts = passkey_hosts(config)
    ports = [one.port for one in config.listeners if one.serve is Serve.GATEWAY and one.tls and not one.socket_path]
    origins = tuple(_origin(host, port) for host in hosts for port in dict.fromkeys((*ports, _HTTPS)))
    return RelyingParty(config.second_factor.rp_id or hosts[0], site_title(config), origins)


def _origin(host: str, port: int) -> str:
    return f"https://{host}" if port == _HTTPS else f"https://{host}:{port}"


def site_title(config: SiteConfig) -> str:
    """The name of the site, as its pages show it."""
    return config.login.title or config.perimeter.realm
