"""A server that behaves as GitHub does towards an OAuth app: ``python -m tests.integration.like_github``.

Its token endpoint answers errors with status 200, and JSON only to those that accept it. A code that began with a challenge is
redeemed with its verifier alone, and S256 is the only method. Organizations and teams come in pages, and need the scope read:org.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.web.server import Request

from tests.integration.like_provider import CLIENT, SECRET, Server, query, serve

OCTOCAT: dict[str, Any] = {
    "login": "octocat",
    "id": 583231,
    "node_id": "MDQ6VXNlcjU4MzIzMQ==",
    "type": "User",
    "site_admin": False,
    "name": "The Octocat",
    "email": "anything@profile.example",
    "two_factor_authentication": True,
}

ORGANIZATIONS = ["acme", "octo-org", "third"]
TEAMS = [("acme", "admins"), ("acme", "viewers"), ("octo-org", "admins")]
EMAILS = [
    {"email": "octocat@other.example", "primary": False, "verified": True, "visibility": None},
    {"email": "octocat@example.com", "primary": True, "verified": True, "visibility": "private"},
]


class GitHub(Server):
    """``state``: user, organizations, teams, emails; ``denied`` ends authorization; ``page`` is the size of a page."""

    def __init__(self) -> None:
        super().__init__({"user": OCTOCAT, "organizations": ORGANIZATIONS, "teams": TEAMS, "emails": EMAILS, "page": 2})
        self.routes = {
            "GET /login/oauth/authorize": self.authorize,
            "POST /login/oauth/access_token": self.token,
            "GET /user": self.user,
            "GET /user/orgs": self.user_orgs,
            "GET /user/teams": self.user_teams,
            "GET /user/emails": self.user_emails,
        }

    def authorize(self, request: Request) -> bytes:
        """The page is left out: the user has authorized the app before."""
        if query(request, "client_id") != CLIENT:
            return self.json(request, {"message": "Not Found"}, 404)
        if query(request, "code_challenge") and query(request, "code_challenge_method") != "S256":
            return self.redirect(request, error="invalid_request", error_description="code_challenge_method must be S256")
        if self.state.get("denied"):
            return self.redirect(request, error="access_denied", error_description="The user has denied your application access.")
        return self.redirect(request, code=self.issue_code(request))

    def token(self, request: Request) -> bytes:
        """Always 200."""
        if (query(request, "client_id"), query(request, "client_secret")) != (CLIENT, SECRET):
            return self._answer(request, error="incorrect_client_credentials", error_description="The client_id is wrong.")
        code = self.redeem(request)
        if code is None:
            return self._answer(request, error="bad_verification_code", error_description="The code is incorrect or expired.")
        return self._answer(request, access_token=self.issue_token(code), token_type="bearer", scope=",".join(sorted(code.scope)))

    def _answer(self, request: Request, **members: str) -> bytes:
        if "application/json" in (request.getHeader("accept") or ""):
            return self.json(request, members)
        request.setHeader("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
        return urlencode(members).encode()

    # -- the API

    def user(self, request: Request) -> bytes:
        """``GET /user``."""
        if self.bearer(request) is None:
            return self.json(request, {"message": "Bad credentials"}, 401)
        return self.json(request, self.state["user"])

    def user_orgs(self, request: Request) -> bytes:
        """``GET /user/orgs``."""
        return self._page(
            request, "read:org", [{"login": name, "id": 1, "description": ""} for name in self.state["organizations"]]
        )

    def user_teams(self, request: Request) -> bytes:
        """``GET /user/teams``."""
        teams = [{"name": slug.title(), "slug": slug, "organization": {"login": org}} for org, slug in self.state["teams"]]
        return self._page(request, "read:org", teams)

    def user_emails(self, request: Request) -> bytes:
        """``GET /user/emails``."""
        return self._page(request, "user:email", self.state["emails"])

    def _page(self, request: Request, scope: str, items: list[Any]) -> bytes:
        code = self.bearer(request)
        if code is None:
            return self.json(request, {"message": "Bad credentials"}, 401)
        if scope not in code.scope:
            return self.json(request, {"message": "Resource not accessible by integration"}, 403)
        size, number = self.state["page"], int(query(request, "page") or 1)
        if number * size < len(items):
            url = f"{self.base}{request.path.decode()}?page="
            request.setHeader("Link", f'<{url}{number + 1}>; rel="next", <{url}99>; rel="last"')
        return self.json(request, items[(number - 1) * size : number * size])


if __name__ == "__main__":
    serve(GitHub())
