"""HTTP/1.1 as the clients of a run speak it: one request on each connection, as if through a proxy that terminates TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urljoin

import attrs

from tests.integration.visitor import BROWSER, Form, forms

SESSION = "__Host-perimeter"
TIMEOUT = 15.0
LOGIN = "/.perimeter/login"
FACTOR = "/.perimeter/factor"


@attrs.frozen
class Answer:
    """An answer; status 0: none came."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    @property
    def clears_session(self) -> bool:
        """Whether it removes the cookie of the session."""
        return any(
            name == "set-cookie"
            and value.startswith(SESSION + "=")
            and ("max-age=0" in value.lower() or value[len(SESSION) + 1] == ";")
            for name, value in self.headers
        )


NONE = Answer(0)


async def fetch(port: int, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """The answer of the gateway on ``port``; `NONE` if there is none in time."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: gateway",
        "Connection: close",
        f"Content-Length: {len(body)}",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
                whole = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return NONE
    head, _, rest = whole.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return NONE
    split = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return Answer(int(head[9:12]), tuple((name.lower(), value.strip()) for name, _, value in split), rest)


class Browser:
    """Cookies, and pages of any gateway. A page that does not come raises `Failed`."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    async def send(self, port: int, method: str, path: str, fields: Mapping[str, str] | None = None) -> Answer:
        """Ask for a page, or send a form, and keep the cookies of the answer."""
        headers = dict(BROWSER)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = await fetch(port, method, path, headers, b"" if fields is None else urlencode(fields).encode())
        for name, value in answer.headers:
            if name == "set-cookie":
                cookie, _, attributes = value.partition(";")
                key, _, content = cookie.partition("=")
                if content and "max-age=0" not in attributes.lower():
                    self.cookies[key.strip()] = content
                else:
                    self.cookies.pop(key.strip(), None)
        return answer

    async def form(self, port: int, path: str, action: str) -> tuple[Form, Answer]:
        """The last form of a page whose action has ``action`` in it."""
        answer = await self.send(port, "GET", path)
        found = [form for form in forms(answer.text) if action in form.action]
        if answer.status != 200 or not found:
            raise Failed(answer)
        found[-1].action = urljoin(path, found[-1].action)
        return found[-1], answer

    async def sign_in(self, port: int, user: str, password: str) -> Answer:
        """Send user name and password. Raises `Failed` if they are not accepted."""
        form, _ = await self.form(port, f"{LOGIN}?to={quote('/x', safe='')}", "login")
        answer = await self.send(port, "POST", form.action or LOGIN, form.fields | {"username": user, "password": password})
        if answer.status != 303:
            raise Failed(answer)
        return answer


class Failed(Exception):
    """A page did not come as expected; ``answer`` came."""

    def __init__(self, answer: Answer) -> None:
        where = dict(answer.headers).get("location", "")
        super().__init__(f"{answer.status} {where} {answer.text[:200]}")
        self.answer = answer
