"""The clients of a run, and what they have found.

A token or a session may be refused with 503 at any time while Redis is away. What must never happen: one that was revoked is
accepted more than a second after the revocation was answered, a one-time value is accepted twice, a good password or session is
taken for a bad one, or a cookie is cleared.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs
from pyotp import TOTP

from bench.chaos.gateway import Gateway, basic
from bench.cluster_run.browser import FACTOR, SESSION, Answer, Browser, Failed, fetch
from bench.cluster_run.stage import CODED, PASSWORD, USERS
from bench.errors import BenchError

IN_FORCE = 1.0
"""Seconds after the answer to a revocation from which no gateway may accept the token."""
_LOOKS = (0.0, 0.05, 0.2, 0.5, 1.0, 3.0)
"""Seconds after the answer to a revocation at which every gateway is asked."""
_ATTEMPTS = 40
"""How often a registration is tried that gets 503, before Redis is killed for the first time."""
_CODE = re.compile(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b")

T = TypeVar("T")


@attrs.define
class Found:
    """What the clients have seen. ``seconds`` are statuses by the second of the run; ``late`` the seconds after the answer to a
    revocation at which the token was accepted still."""

    began: float = attrs.field(factory=time.monotonic)
    seconds: defaultdict[int, Counter[int]] = attrs.field(factory=lambda: defaultdict(Counter))
    counts: Counter[str] = attrs.field(factory=Counter)
    late: list[float] = attrs.field(factory=list)
    took: list[float] = attrs.field(factory=list)
    breaches: list[str] = attrs.field(factory=list)

    @property
    def at(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def breach(self, text: str) -> None:
        """Something has happened that must not."""
        self.breaches.append(f"{self.at:.1f} s: {text}")


class Load:
    """Clients of ``gateways``. Each kind of client does its work every ``pause`` seconds, for each of ``clients``."""

    def __init__(self, gateways: Sequence[Gateway], clients: int, pause: float, seed: int) -> None:
        self.found = Found()
        self._ports = [gateway.port for gateway in gateways]
        self._chance = random.Random(seed)
        self._pause = pause
        self._stopping = False
        self._revoked: list[tuple[str, float]] = []
        self._codes: list[tuple[str, str]] = []
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (
            self._token,
            self._access_token,
            self._session,
            self._login,
            self._code,
        )
        self._kinds = (*kinds * clients, self._old)
        self._tasks: list[asyncio.Task[None]] = []

    async def prepare(self, users: int) -> None:
        """Register an app for each of so many users, which gives them recovery codes."""
        for name in CODED[:users]:
            for _ in range(_ATTEMPTS):
                try:
                    await self._register(name)
                    break
                except Failed as failed:
                    if failed.answer.status not in (0, 503):
                        raise BenchError(f"an app cannot be registered: {failed}") from failed
                    await asyncio.sleep(0.5)
        if not self._codes:
            raise BenchError("no recovery codes")
        self._codes = [self._codes[at] for at in sorted(range(len(self._codes)), key=lambda at: at % 10)]

    async def _register(self, name: str) -> None:
        browser, port = Browser(), self._port()
        await browser.sign_in(port, name, PASSWORD)
        form, page = await browser.form(port, f"{FACTOR}?to=/x", "")
        secret = re.search(r"secret=([A-Z2-7]{32})", page.text)
        if secret is None:
            raise BenchError(f"no page to register an app: {page.text[:300]}")
        answer = await browser.send(port, "POST", form.action, form.fields | {"code": TOTP(secret[1]).now()})
        self._codes += [(name, code) for code in _CODE.findall(answer.text)]

    def start(self) -> None:
        """Begin."""
        self.found = Found()
        self._tasks = [asyncio.create_task(self._repeat(kind)) for kind in self._kinds]

    async def stop(self) -> Found:
        """Let what is under way end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        return self.found

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping:
            await asyncio.sleep(self._chance.uniform(0.0, 2.0) * self._pause)
            try:
                await work()
            except Failed as failed:
                if failed.answer.status not in (0, 503):
                    self.found.breach(f"an unexpected page: {failed}")

    def _port(self) -> int:
        return self._chance.choice(self._ports)

    async def _fetch(self, port: int, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        answer = await fetch(port, method, target, headers, body)
        self.found.seconds[int(self.found.at)][answer.status] += 1
        return answer

    async def _until(self, wanted: Sequence[int], ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until the answer is one of ``wanted``; 503 and no answer are asked again."""
        while (answer := await ask()).status in (0, 503):
            await asyncio.sleep(0.3)
        if answer.status not in wanted:
            raise Failed(answer)
        return answer

    # -- tokens

    async def _token(self) -> None:
        password = {"Authorization": basic(self._chance.choice(USERS), PASSWORD)}
        json_of = {**password, "Content-Type": "application/json"}
        made = await self._until((201,), lambda: self._fetch(self._port(), "POST", "/tokens", json_of, b'{"name": "bench"}'))
        token = json.loads(made.body)
        await self._used(token["token"])
        began = self.found.at
        # 404: an earlier attempt was carried out, and its answer was lost
        await self._until((204, 404), lambda: self._fetch(self._port(), "DELETE", f"/token/{token['id']}", password))
        await self._ended(token["token"], began)

    async def _access_token(self) -> None:
        password = {"Authorization": basic(self._chance.choice(USERS), PASSWORD)}
        made = await self._until((200,), lambda: self._fetch(self._port(), "GET", "/token", password))
        token = json.loads(made.body)["access_token"]
        await self._used(token)
        began, form = self.found.at, {"Content-Type": "application/x-www-form-urlencoded"}
        await self._until((200,), lambda: self._fetch(self._port(), "POST", "/revoke", form, b"token=" + token.encode()))
        await self._ended(token, began)

    async def _used(self, token: str) -> None:
        """A good token is accepted, or gets 503."""
        for _ in range(3):
            status = await self._status(self._port(), token)
            if status not in (200, 503, 0):
                self.found.breach(f"a good {_kind(token)} got {status}")
            self.found.counts["good tokens"] += 1

    async def _ended(self, token: str, began: float) -> None:
        answered = self.found.at
        self.found.took.append(answered - began)
        self.found.counts["revocations"] += 1
        for look in _LOOKS:
            await asyncio.sleep(max(0.0, answered + look - self.found.at))
            await asyncio.gather(*(self._refused(port, token, answered) for port in self._ports))
        self._revoked.append((token, answered))

    async def _refused(self, port: int, token: str, answered: float) -> None:
        asked = self.found.at
        status = await self._status(port, token)
        self.found.counts["revoked tokens"] += 1
        if status == 200:
            self.found.late.append(asked - answered)
            if asked - answered > IN_FORCE:
                self.found.breach(
                    f"the gateway on {port}: {_kind(token)} accepted {asked - answered:.2f} s after the answer to its revocation"
                )
        elif status not in (401, 503, 0):
            self.found.breach(f"a revoked {_kind(token)} got {status}")

    async def _old(self) -> None:
        if self._revoked:
            await self._refused(self._port(), *self._chance.choice(self._revoked))

    async def _status(self, port: int, token: str) -> int:
        return (await self._fetch(port, "GET", "/x", {"Authorization": f"Bearer {token}"})).status

    # -- users

    async def _login(self) -> None:
        answer = await self._fetch(self._port(), "GET", "/x", {"Authorization": basic(self._chance.choice(USERS), PASSWORD)})
        self.found.counts["passwords"] += 1
        if answer.status not in (200, 503, 0):
            self.found.breach(f"a good password got {answer.status}")

    async def _session(self) -> None:
        browser = Browser()
        answer = await browser.sign_in(self._port(), self._chance.choice(USERS), PASSWORD)
        if SESSION not in browser.cookies:
            raise Failed(answer)
        self.found.counts["sessions"] += 1
        began = self.found.at
        for _ in range(12):
            await asyncio.sleep(self._pause)
            cookie = browser.cookies.get(SESSION, "")
            port = self._port()
            answer = await self._fetch(port, "GET", "/x", {"Cookie": f"{SESSION}={cookie}"})
            self.found.counts["requests of sessions"] += 1
            if answer.clears_session:
                self.found.breach(f"{answer.status} cleared the cookie of a session")
            if answer.status not in (200, 503, 0):
                self.found.breach(f"the gateway on {port}: a session of {began:.2f} s got {answer.status}")

    async def _code(self) -> None:
        """The same recovery code at two gateways at the same moment."""
        if not self._codes:
            return
        user, code = self._codes.pop(0)
        browsers, ports = (Browser(), Browser()), self._chance.sample(self._ports, 2)
        shown = []
        for browser, port in zip(browsers, ports, strict=True):
            await browser.sign_in(port, user, PASSWORD)
            shown.append((await browser.form(port, f"{FACTOR}?to=/x", "factor"))[0])
        answers = await asyncio.gather(
            *(
                browser.send(port, "POST", form.action, form.fields | {"code": code})
                for browser, port, form in zip(browsers, ports, shown, strict=True)
            )
        )
        self.found.counts["one-time codes"] += 1
        accepted = sum(answer.status == 303 for answer in answers)
        self.found.counts["accepted codes"] += accepted
        if accepted > 1:
            self.found.breach("a one-time code was accepted twice")
        for answer in answers:
            self.found.seconds[int(self.found.at)][answer.status] += 1


def _kind(token: str) -> str:
    return "API token" if token.startswith("perimeter_") else "access token"
