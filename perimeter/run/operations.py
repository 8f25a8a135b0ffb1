"""The questions that the operator may ask of the running gateway (`perimeter.run.control`), and the answers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import TimeoutError

import perimeter
from perimeter.errors import NotWritten, Unavailable
from perimeter.factors.stored import FACTORS
from perimeter.metrics.figures import totals
from perimeter.providers.pins import PINS
from perimeter.run.all_workers import all_problems, all_status
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.prepared import counts
from perimeter.run.factor_operations import list_factors, new_enroll_code, remove_factors
from perimeter.run.identity_operations import list_identities, release_identity
from perimeter.run.key_operations import rotate_keys
from perimeter.run.nodes import shared_status
from perimeter.run.overview import certificates, last_reload, limits_so_far, requests_so_far
from perimeter.run.problems import Examination, Subject, noticed, ordered
from perimeter.run.session_operations import end_sessions, list_sessions
from perimeter.run.token_operations import list_tokens, revoke_tokens
from perimeter.tokens.revoking import Revocation
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.workers.place import Place


@attrs.frozen
class ListenerStatus:
    """A listener: its name and port, and how many connections it has. One on the unix socket ``path`` has port 0."""

    name: str
    port: int
    connections: int
    path: str = ""


class RunningGateway(Protocol):
    """What the answers need of `perimeter.run.worker.Worker`."""

    last_reload: Reload

    @property
    def assembly(self) -> Assembly:
        """What is in force. Raises ValueError while the gateway stops."""

    def listeners(self) -> Sequence[ListenerStatus]:
        """The listeners."""

    def uptime(self) -> float:
        """Seconds since the start."""

    def examination(self) -> Examination:
        """What is to be examined for problems."""


def answer(gateway: RunningGateway, question: Mapping[str, Any]) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
    """The answer to a question, by its ``command``: ``status``, ``unban``, or one of those about the state.

    Raises ValueError for any other question, and for one that cannot be answered; the text is meant for the operator.
    """
    command = question.get("command")
    if command == "status":
        examination = gateway.examination()
        return brief_status(gateway, examination) if question.get("brief") is True else examined_status(gateway, examination)
    of_state = _OF_STATE.get(command) if isinstance(command, str) else None
    if of_state is not None:
        return _up_to_date(gateway.examination(), of_state, question)
    what = question.get("what")
    if command == "unban" and isinstance(what, str) and what:
        return _unban(gateway.assembly, what)
    raise ValueError("this gateway does not know the command")


def status(gateway: RunningGateway) -> dict[str, Any]:
    """How the gateway is. Seconds are whole and rounded up."""
    config, chain = gateway.assembly.config, gateway.assembly.chain
    kinds = {one.name: one.kind for one in config.user_sources}
    return {
        "version": perimeter.__version__,
        "pid": os.getpid(),
        "uptime": int(gateway.uptime()),
        "config": str(config.file),
        "drain_timeout": config.perimeter.drain_timeout,
        "last_reload": last_reload(gateway.last_reload),
        "sessions": len(gateway.assembly.sessions),
        "listeners": [attrs.asdict(place) for place in gateway.listeners()],
        "upstreams": [
            {
                "name": pool.name,
                "balance": str(pool.settings.balance),
                "waiting": len(pool.choice.queue),
                "servers": [attrs.asdict(one) for one in pool.view()],
            }
            for pool in gateway.assembly.pools
        ],
        "authenticators": [
            {
                "name": one.name,
                "type": kinds.get(one.name, ""),
                "realm": one.realm,
                "down": one.breaker.open,
                "next_try": ceil(one.breaker.remaining),
            }
            for one in chain.guarded
        ],
        "waiting": [
            {
                "kind": key.kind,
                "value": key.value,
                "realm": key.realm,
                "wrong_passwords": attempts.failures,
                "seconds": seconds,
            }
            for key, attempts, seconds in chain.refused()
        ],
    }


async def brief_status(gateway: RunningGateway, examination: Examination) -> dict[str, Any]:
    """`status` of all worker processes, with the requests so far if they are counted."""
    so_far = totals(examination.runtime.metrics)
    own = {**status(gateway), **limits_so_far(so_far), **(requests_so_far(so_far) if counts(examination.assembly.config) else {})}
    place = examination.runtime.place
    return own if place is None else await all_status(place, own, so_far)


async def examined_status(gateway: RunningGateway, examination: Examination) -> dict[str, Any]:
    """`brief_status`, with ``problems``, the worst first, ``certificates``, ``orders`` of certificates, and ``nodes``.

    Directories and services are checked, which takes at most a few seconds.
    """
    found = await all_problems(examination)
    answer = {
        **await brief_status(gateway, examination),
        "certificates": certificates(examination.identities, examination.runtime.reactor.seconds()),
        "orders": await _orders(examination),
        **await shared_status(examination.assembly, examination.runtime.reactor),
    }
    down = {one.name: one.message for one in found if one.subject is Subject.AUTHENTICATOR}
    for authenticator in answer["authenticators"]:
        authenticator["fault"] = down.get(authenticator["name"], "")
    return {**answer, "problems": [attrs.asdict(one) for one in found]}


async def _orders(examination: Examination) -> list[Mapping[str, object]]:
    try:
        found = await ordered(examination.assembly.config, examination.runtime)
    except (TimeoutError, Unavailable):
        return []  # `problems` reports what a file system that hangs means for the gateway
    return [one.members for one in found]


def answer_workers(gateway: RunningGateway, place: Place) -> None:
    """Answer the other worker processes when they are asked about all of them."""

    def own(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"status": status(gateway), "counts": totals(gateway.examination().runtime.metrics).counts()}

    place.handlers["status"] = own
    place.handlers["last_reload"] = lambda _: attrs.astuple(gateway.last_reload)
    place.handlers["noticed"] = lambda _: {"problems": [attrs.asdict(one) for one in noticed(gateway.examination())]}


async def _up_to_date(examination: Examination, answer: OfState, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer to a question about the state, with everything that the other worker processes have written before."""
    if examination.runtime.place is not None:
        await examination.assembly.state.follow()
    return await answer(examination.assembly, question)


@contextmanager
def _readable() -> Iterator[None]:
    """Report for the operator that a list cannot be read from the store."""
    try:
        yield
    except Unavailable as error:
        raise ValueError(f"the list cannot be read: {error.detail}") from None


async def _unban(assembly: Assembly, what: str) -> Mapping[str, Any]:
    return {"released": [str(key) for key in await assembly.chain.release(what)]}


async def _tokens(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    passing = question.get("passing") is True
    with _readable():
        return await list_tokens(_realms(assembly), assembly.tokens, *_owner(question), passing=passing, first=_first(question))


async def _revoke(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = Revocation(_ids(question), _whole_owner(question), _text(question, "token"))
    try:
        return attrs.asdict(await revoke_tokens(_realms(assembly), assembly.revoker, wanted))
    except NotWritten as error:
        raise ValueError(f"the tokens are refused from now on, but this is not written everywhere yet: {error.detail}") from None


async def _sessions(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    with _readable():
        return await list_sessions(_realms(assembly), assembly.sessions, *_owner(question), _first(question))


async def _end_sessions(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return await end_sessions(_realms(assembly), assembly.sessions, _ids(question), _whole_owner(question))
    except NotWritten as error:
        raise ValueError(f"the sessions have ended, but this is not written everywhere yet: {error.detail}") from None


async def _identities(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    return list_identities(_realms(assembly), assembly.state.view(PINS), *_owner(question), _first(question))


async def _release_identity(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    user = _named_user(question)
    try:
        return await release_identity(assembly.state.view(PINS), assembly.revoker, user)
    except NotWritten as error:
        raise ValueError(f"the release is in force, but not written everywhere yet: {error.detail}") from None


async def _factors(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    return list_factors(_realms(assembly), assembly.state.view(FACTORS), *_owner(question), _first(question))


async def _reset_factors(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    user, stored, now = _named_user(question), assembly.state.view(FACTORS), assembly.state.seconds()
    try:
        return await remove_factors(_realms(assembly), stored, user, now)
    except NotWritten as error:
        raise ValueError(
            f"the second factors do not count any more, but this is not written everywhere yet: {error.detail}"
        ) from None


async def _enroll_code(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    user, stored, now = _named_user(question), assembly.state.view(FACTORS), assembly.state.seconds()
    try:
        return await new_enroll_code(_realms(assembly), stored, user, now)
    except Unavailable as error:
        raise ValueError(f"the code cannot be written: {error.detail}") from None


OfState = Callable[[Assembly, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

_OF_STATE: Final[Mapping[str, OfState]] = {
    "rotate_keys": rotate_keys,
    "tokens": _tokens,
    "revoke": _revoke,
    "sessions": _sessions,
    "end_sessions": _end_sessions,
    "identities": _identities,
    "release_identity": _release_identity,
    "factors": _factors,
    "reset_factors": _reset_factors,
    "enroll_code": _enroll_code,
}


def _realms(assembly: Assembly) -> Sequence[str]:
    return assembly.config.realms


def _first(question: Mapping[str, Any]) -> int:
    """The number of the entry to begin a list with."""
    first = question.get("first", 0)
    if not isinstance(first, int):
        raise ValueError("first: expected a number")
    return max(0, first)


def _ids(question: Mapping[str, Any]) -> tuple[str, ...]:
    ids = question.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise ValueError("ids: expected a list of texts")
    return tuple(ids)


def _owner(question: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """User and realm that select; None for any."""
    return _text(question, "user"), _text(question, "realm")


def _whole_owner(question: Mapping[str, Any]) -> tuple[str, str] | None:
    """Realm and user, or None if the question does not name them."""
    user, realm = _owner(question)
    if (user is None) != (realm is None):
        raise ValueError("user and realm are needed together")
    return None if user is None or realm is None else (realm, user)


def _named_user(question: Mapping[str, Any]) -> tuple[str, str]:
    """Realm and user, which the question has to name."""
    user = _whole_owner(question)
    if user is None:
        raise ValueError("user and realm are needed")
    return user


def _text(question: Mapping[str, Any], name: str) -> str | None:
    value = question.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: expected a text")
    return value
