"""The questions that the operator may ask of the running gateway (`perimeter.run.control`), and the answers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Mapping, Sequence
from math import ceil
from typing import Any, Protocol

import attrs

import perimeter
from perimeter.errors import Unavailable
from perimeter.run.build.assembly import Assembly
from perimeter.run.problems import Examination, Subject, problems
from perimeter.run.token_operations import list_tokens, revoke_tokens
from perimeter.tokens.revoking import Revocation


@attrs.frozen
class ListenerStatus:
    """A listener: its name and port, and how many connections it has."""

    name: str
    port: int
    connections: int


class RunningGateway(Protocol):
    """What the answers need of `perimeter.run.worker.Worker`."""

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
    """The answer to a question, by its ``command``: ``status``, ``unban``, ``tokens`` or ``revoke``.

    Raises ValueError for any other question, and for one that cannot be answered; the text is meant for the operator.
    """
    command = question.get("command")
    if command == "status":
        return status(gateway) if question.get("brief") is True else examined_status(gateway, gateway.examination())
    if command == "tokens":
        return _tokens(gateway.assembly, question)
    if command == "revoke":
        return _revoke(gateway.assembly, question)
    what = question.get("what")
    if command == "unban" and isinstance(what, str) and what:
        return {"released": [str(key) for key in gateway.assembly.chain.release(what)]}
    raise ValueError("this gateway does not know the command")


def status(gateway: RunningGateway) -> dict[str, Any]:
    """How the gateway is. Seconds are whole and rounded up."""
    config, chain = gateway.assembly.config, gateway.assembly.chain
    kinds = {one.name: one.kind for one in config.authenticators}
    return {
        "version": perimeter.__version__,
        "pid": os.getpid(),
        "uptime": int(gateway.uptime()),
        "config": str(config.file),
        "listeners": [attrs.asdict(place) for place in gateway.listeners()],
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


async def examined_status(gateway: RunningGateway, examination: Examination) -> dict[str, Any]:
    """`status`, with ``problems``: the worst first. Directories and services are asked; this takes some seconds at most."""
    found = await problems(examination)
    answer = status(gateway)
    down = {one.name: one.message for one in found if one.subject is Subject.AUTHENTICATOR}
    for authenticator in answer["authenticators"]:
        authenticator["fault"] = down.get(authenticator["name"], "")
    return {**answer, "problems": [attrs.asdict(one) for one in found]}


def _tokens(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    first = question.get("first", 0)
    if not isinstance(first, int):
        raise ValueError("first: expected a number")
    user, realm = _text(question, "user"), _text(question, "realm")
    realms = [one.realm for one in assembly.config.authenticators]
    return list_tokens(realms, assembly.tokens, user, realm, passing=question.get("passing") is True, first=max(0, first))


async def _revoke(assembly: Assembly, question: Mapping[str, Any]) -> Mapping[str, Any]:
    ids = question.get("ids", [])
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise ValueError("ids: expected a list of texts")
    user, realm = _text(question, "user"), _text(question, "realm")
    if (user is None) != (realm is None):
        raise ValueError("user and realm are needed together")
    owner = None if user is None or realm is None else (realm, user)
    wanted = Revocation(tuple(ids), owner, _text(question, "token"))
    realms = [one.realm for one in assembly.config.authenticators]
    try:
        return attrs.asdict(await revoke_tokens(realms, assembly.revoker, wanted))
    except Unavailable as error:
        raise ValueError(f"the tokens are refused from now on, but this is not on disk yet: {error.detail}") from None


def _text(question: Mapping[str, Any], name: str) -> str | None:
    value = question.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: expected a text")
    return value
