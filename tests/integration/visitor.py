"""A visitor without a browser: `requests` with cookies, and forms as they are in the pages."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from urllib.parse import urljoin

import attrs
import requests

TIMEOUT = 30.0

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
"""What makes a request a navigation for a gateway that sees no Fetch Metadata."""


@attrs.define
class Form:
    """A form of a page: its target, and its fields before a user types."""

    action: str
    method: str
    fields: dict[str, str] = attrs.field(factory=dict)


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, given: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in given}
        if tag == "form":
            self.found.append(Form(attributes.get("action", ""), attributes.get("method", "get")))
        elif tag == "input" and self.found and "name" in attributes and attributes.get("type") not in ("checkbox", "radio"):
            self.found[-1].fields[attributes["name"]] = attributes.get("value", "")


def forms(text: str) -> list[Form]:
    """The forms of a page."""
    parser = _Forms()
    parser.feed(text)
    return parser.found


class Visitor:
    """Cookies, and requests to ``origin``, whose certificate is in the file ``trusted``. Redirects are not followed."""

    def __init__(self, origin: str, trusted: Path) -> None:
        self.origin = origin
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(trusted)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self.session.close()

    @property
    def cookie(self) -> str | None:
        """The value of the session cookie."""
        return self.session.cookies.get("__Host-perimeter")

    def get(self, path: str, **headers: str) -> requests.Response:
        """Ask for a path, as a program does."""
        return self._send("GET", path, None, headers)

    def navigate(self, path: str, **headers: str) -> requests.Response:
        """Ask for a path, as the address bar of a browser does."""
        return self._send("GET", path, None, BROWSER | headers)

    def post(self, path: str, data: dict[str, str] | bytes, **headers: str) -> requests.Response:
        """Send a form, or a body of another kind."""
        return self._send("POST", path, data, BROWSER | headers)

    def _send(self, method: str, path: str, data: dict[str, str] | bytes | None, headers: dict[str, str]) -> requests.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        url = urljoin(self.origin, path)
        return self.session.request(method, url, data=data, headers=fields, timeout=TIMEOUT, allow_redirects=False)

    def form(self, path: str, action: str = "") -> Form:
        """The form of the page at ``path`` whose action has ``action`` in it."""
        answer = self.navigate(path)
        for form in forms(answer.text):
            if action in form.action:
                form.action = urljoin(path, form.action)
                return form
        raise AssertionError(f"no form {action!r} at {path}: {answer.status_code} {answer.text[:2000]}")

    def sign_in(self, username: str, password: str, to: str = "/", **more: str) -> requests.Response:
        """Fill in the form of the login page, and return what comes back."""
        form = self.form(f"/.perimeter/login?to={requests.utils.quote(to, safe='')}", "login")
        return self.post(form.action or "/.perimeter/login", form.fields | {"username": username, "password": password} | more)

    def sign_out(self, **more: str) -> requests.Response:
        """Confirm the page that asks whether to sign out."""
        form = self.form("/.perimeter/logout", "logout")
        return self.post(form.action, form.fields | more)
