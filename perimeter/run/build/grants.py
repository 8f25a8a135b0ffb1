"""Tokens and sessions of one configuration, and the sources by which the gate identifies users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.gate.identify import Identifier
from perimeter.gate.sources.authorization import Authorization
from perimeter.gate.sources.connection import Connection
from perimeter.gate.sources.negotiate import Negotiate
from perimeter.gate.sources.session import SessionSource
from perimeter.gate.sources.source import CredentialSource
from perimeter.run.build.prepared import Prepared
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.shared_work import SharedWork
from perimeter.sessions.renewal import Renewals
from perimeter.sessions.stored import SESSIONS, StoredSessions
from perimeter.tokens.api_token import ApiTokenVerifier
from perimeter.tokens.book import TokenBook
from perimeter.tokens.check import Check, TokenCheck, cookie_check
from perimeter.tokens.followed_keys import FollowedKeys
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.look_ups import CookieLookUps, LookUps
from perimeter.tokens.news import News, news_of
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import TOKENS, StoredTokens
from perimeter.tokens.verifier import TokenVerifier


@attrs.frozen(eq=False)
class Grants:
    """The books of tokens and sessions, and objects that issue, verify and revoke them. ``book`` is None without API tokens."""

    tokens: StoredTokens
    sessions: StoredSessions
    issuer: TokenIssuer
    verifier: TokenVerifier
    revoker: Revoker
    book: TokenBook | None
    keys: FollowedKeys
    news: News
    token_check: TokenCheck
    cookie_check: Check
    cookie_look_ups: CookieLookUps


def grants_of(prepared: Prepared, runtime: Runtime, work: SharedWork | None) -> Grants:
    """The tokens and sessions of the state that ``prepared`` has opened; ``work`` is what is done with other machines."""
    settings, keyring, state, reactor = prepared.config.token, prepared.keyring, prepared.state.state, runtime.reactor
    tokens, sessions = state.view(TOKENS), state.view(SESSIONS)
    verifier = TokenVerifier(keyring, settings, reactor, tokens.revoked)
    keys = FollowedKeys(keyring, runtime.offload, reactor)
    if work is not None:
        work.share_keys(keys, keyring)
    news = news_of(tokens.learn, keys.look, LookUps(runtime.limits, lambda: tokens.complete, "API tokens"))
    check = TokenCheck(prepared.secrets)
    revoker = Revoker(tokens, verifier, sessions, news, check)
    book = TokenBook(tokens, revoker, reactor, settings.api_lifetime, check) if settings.api_tokens else None
    issuer = TokenIssuer(keyring, settings, reactor, tokens.check_fresh)
    cookies = cookie_check(prepared.secrets)
    return Grants(
        tokens,
        sessions,
        issuer,
        verifier,
        revoker,
        book,
        keys,
        news,
        check,
        cookies,
        CookieLookUps(cookies, LookUps(runtime.limits, lambda: sessions.complete, "sessions")),
    )


def identifier_of(
    config: SiteConfig, chain: AuthenticatorChain, grants: Grants, reactor: Any, renewals: Renewals | None
) -> Identifier:
    """The sources by which gates identify users, without unused ones, since each source costs time for each request."""
    clock: Callable[[], float] = reactor.seconds
    limits = config.limits
    api_tokens = ApiTokenVerifier(grants.tokens if grants.book else None, reactor, grants.token_check)
    sources: list[CredentialSource] = [
        Authorization(
            chain,
            grants.verifier,
            api_tokens,
            grants.tokens,
            clock,
            limits.remembered_tokens,
            limits.max_authorization,
            grants.news,
        )
    ]
    if chain.takes_negotiate:
        sources.append(Negotiate(chain, limits.max_authorization))
    if config.signs_people_in:
        proxies, look_ups = config.perimeter.trusted_proxies, grants.cookie_look_ups
        sources.append(SessionSource(chain, grants.sessions, clock, limits.remembered_tokens, proxies, renewals, look_ups))
    if chain.takes_connections:
        sources.append(Connection(chain))
    return Identifier(sources)
