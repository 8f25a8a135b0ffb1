"""Answers questions about tokens and sessions from the database, while no gateway runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.cli.site import Ask, WallClock
from perimeter.cluster.names import DATABASE as SHARED
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.perimeter import StateKind
from perimeter.errors import StartupError, Unavailable
from perimeter.factors.stored import FACTORS
from perimeter.model import TOKEN_PREFIX
from perimeter.providers.pins import PINS
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.factor_operations import list_factors, new_enroll_code, remove_factors
from perimeter.run.identity_operations import list_identities, release_identity
from perimeter.run.session_operations import end_sessions, list_sessions
from perimeter.run.token_operations import list_tokens, revoke_tokens
from perimeter.sessions.stored import SESSIONS
from perimeter.state.direct import DirectState
from perimeter.state.partial import WHOLE_UP_TO
from perimeter.state.sqlite import NAME as DATABASE
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.news import news_of_tokens
from perimeter.tokens.revoking import Revocation, Revoker
from perimeter.tokens.stored import TOKENS


@contextlib.contextmanager
def opened(directory: Path, config: SiteConfig | None, nothing: StartupError) -> Iterator[Ask]:
    """Open the store in ``directory`` and query it. Without a store, raise ``nothing``: no gateway is running."""
    shared = (directory / SHARED).exists() if config is None else config.perimeter.state is StateKind.REDIS
    if shared:
        raise StartupError(
            f"no gateway is running with state_dir {directory}, and what it stores is in Redis: run this command on a machine "
            "whose gateway runs, or start this one"
        )
    if config is None and not (directory / DATABASE).exists():
        raise nothing
    if config is not None and config.perimeter.state is not StateKind.SQLITE:
        raise StartupError(f"no gateway is running with state_dir {directory}, and with state = memory nothing is stored")
    store = SqliteStore(directory, STATE_KINDS, whole_up_to=WHOLE_UP_TO if config is None else config.perimeter.whole_up_to)
    try:
        yield partial(answer, config, DirectState(store, STATE_KINDS, time.time))
    finally:
        store.close()


def answer(config: SiteConfig | None, state: DirectState, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of `perimeter.run.operations.answer` to a question about the state.

    Raises `StartupError`.
    """
    tokens, sessions, pins, factors = state.view(TOKENS), state.view(SESSIONS), state.view(PINS), state.view(FACTORS)
    realms = () if config is None else config.realms
    user, realm = question["user"], question["realm"]
    owner = (realm, user) if user else None
    command = question["command"]
    try:
        if command == "tokens":
            listed: Mapping[str, Any] = _written(
                list_tokens(realms, tokens, user, realm, passing=question["passing"], first=question["first"])
            )
            return listed
        if command == "sessions":
            found: Mapping[str, Any] = _written(list_sessions(realms, sessions, user, realm, question["first"]))
            return found
        if command == "identities":
            return list_identities(realms, pins, user, realm, question["first"])
        if command == "factors":
            return list_factors(realms, factors, user, realm, question["first"])
    except ValueError as error:
        raise StartupError(str(error)) from None
    if command == "end_sessions":
        ended: Mapping[str, Any] = _written(end_sessions(realms, sessions, question["ids"], owner))
        return ended
    if command == "release_identity":
        released: Mapping[str, Any] = _written(release_identity(pins, Revoker(tokens, None, sessions), (realm, user)))
        return released
    if command in ("reset_factors", "enroll_code"):
        change = remove_factors if command == "reset_factors" else new_enroll_code
        changed: Mapping[str, Any] = _written(change(realms, factors, (realm, user), state.seconds()))
        return changed
    token = question.get("token")
    verifier = None
    if token is not None and not token.startswith(TOKEN_PREFIX):
        if config is None:
            raise StartupError("no gateway is running: to verify an access token, -c FILE is needed")
        from perimeter.tokens.keyring import Keyring
        from perimeter.tokens.verifier import TokenVerifier

        clock = WallClock()
        verifier = TokenVerifier(
            Keyring.read(config.perimeter.state_dir, config.token, clock), config.token, clock, tokens.revoked
        )
    wanted = Revocation(tuple(question["ids"]), owner, token)
    return attrs.asdict(
        _written(revoke_tokens(realms, Revoker(tokens, verifier, sessions, news_of_tokens(tokens.learn)), wanted))
    )


def _written(work: Awaitable[Any]) -> Any:
    """The result of ``work`` on a `DirectState`, which writes at once. Raises `StartupError`."""

    async def waiting() -> Any:
        return await work

    results: list[Any] = []
    Deferred.fromCoroutine(waiting()).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.trap(ValueError, Unavailable)
        raise StartupError(str(result.value))
    return result
