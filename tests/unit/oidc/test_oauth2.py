"""type = oauth2: looks at the user while the session lasts, where the provider issues refresh tokens that rotate."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from perimeter.errors import NotAllowedHere, ProviderMisconfigured, ProviderUnavailable, Rejected, Unavailable
from perimeter.oidc.kept import SOON, STALE
from perimeter.oidc.oauth2 import _read
from tests.integration.upstreams import Connection, Upstream
from tests.unit.doubles.remote import answering
from tests.unit.doubles.sign_in import CALLBACK, SignInCase

ALICE = {"id": "a-1", "preferred_username": "alice", "roles": ["viewer"]}


class RotatingCase(SignInCase):
    """A provider whose access tokens are the numbers from 1; only those in ``good`` are. Refresh tokens are used once."""

    def setUp(self) -> None:
        super().setUp()
        self.issued = 0
        self.good: set[str] = set()
        self.user: Any = ALICE
        self.user_status = 200
        self.rotates = True
        self.gives_refresh_tokens = True
        self.lists: dict[str, Any] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.upstream: Upstream = self.server(self.serve)

    def serve(self, connection: Connection) -> None:
        while True:
            try:
                received = connection.request()
            except EOFError:
                return
            if received.line.startswith("POST /token "):
                status, answer = self.token(parse_qs(received.body.decode()))
            else:
                path = received.line.split()[1]
                self.asked.append(path)
                known = received.get("authorization") in {f"Bearer {one}" for one in self.good}
                status, answer = (self.user_status, self.lists.get(path, self.user)) if known else (401, {})
            body = json.dumps(answer).encode()
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))

    def token(self, form: dict[str, list[str]]) -> tuple[int, Any]:
        self.forms.append(form)
        if form["grant_type"] == ["refresh_token"] and form["refresh_token"] != [f"r{self.issued}"]:
            return 400, {"error": "invalid_grant"}
        if self.rotates or not self.issued:
            self.issued += 1
        self.good = {str(self.issued)}
        answer = {"access_token": str(self.issued), "token_type": "bearer", "expires_in": 60}
        refresh = {"refresh_token": f"r{self.issued}"} if form["grant_type"] == ["authorization_code"] or self.rotates else {}
        return 200, answer | (refresh if self.gives_refresh_tokens else {})

    def rotating(self, options: str = "") -> Any:
        return self.provider("oauth2", self.section() + options)

    def section(self) -> str:
        url = self.upstream.url
        return (
            f"client_id = gateway\nclient_secret = s\nauthorize_uri = {url}/authorize\ntoken_uri = {url}/token\n"
            f"user_uri = {url}/user\nid_claim = id\n"
        )

    async def completed(self, provider: Any) -> Any:
        return await provider.complete({"code": "c"}, self.flow())


class ProbeTests(SignInCase):
    async def test_whether_the_token_endpoint_answers(self) -> None:
        for status in (200, 404, 405, 499):
            server = self.server(answering(status, b""))
            await self.at(server.url).probe()
            self.assertEqual(server.requests[0].line, "GET /token HTTP/1.1")
            self.assertIsNone(server.requests[0].get("authorization"))
        for status in (500, 503):
            await self.refused(self.at(self.server(answering(status, b"")).url).probe(), Unavailable)
        await self.refused(self.at("http://127.0.0.1:1").probe(), Unavailable)

    def at(self, url: str) -> Any:
        options = f"authorize_uri = {url}/authorize\ntoken_uri = {url}/token\nuser_uri = {url}/user\nid_claim = id\n"
        return self.provider("oauth2", f"client_id = gateway\nclient_secret = s\n{options}")


class SignInTests(RotatingCase):
    async def test_the_request_of_the_browser(self) -> None:
        provider = self.rotating("scopes = profile, teams\nextra = audience=x\nprompt_again = anew")
        flow = self.flow(again=True, login_hint="a lice")
        url = urlsplit(await provider.begin(flow))
        self.assertEqual(f"{url.scheme}://{url.netloc}{url.path}", f"{self.upstream.url}/authorize")
        query = parse_qs(url.query)
        self.assertEqual(len(query.pop("code_challenge")[0]), 43)
        self.assertEqual(
            query,
            {
                "audience": ["x"],
                "response_type": ["code"],
                "client_id": ["gateway"],
                "redirect_uri": [CALLBACK],
                "scope": ["profile teams"],
                "state": [flow.state],
                "code_challenge_method": ["S256"],
                "prompt": ["anew"],
                "login_hint": ["a lice"],
                "login": ["a lice"],
            },
        )
        query = parse_qs(urlsplit(await self.rotating().begin(self.flow())).query)
        self.assertTrue({"scope", "prompt", "login", "login_hint"}.isdisjoint(query))

    async def test_the_code_is_redeemed_with_the_verifier(self) -> None:
        found = await self.completed(self.rotating())
        self.assertEqual((found.principal.username, found.principal.roles), ("alice", ("viewer",)))
        (form,) = self.forms
        self.assertEqual(form["code_verifier"], [self.flow().verifier])
        self.assertEqual((form["code"], form["redirect_uri"]), (["c"], [CALLBACK]))

    async def test_the_claims_are_explained_to_who_wants_it(self) -> None:
        steps: list[str] = []
        await self.rotating().complete({"code": "c"}, self.flow(explain=steps.append))
        self.assertIn('username_claim = preferred_username: "alice"', steps)
        self.user = ALICE | {"roles": 7}
        steps.clear()
        again = self.rotating().complete({"code": "c"}, self.flow(explain=steps.append))
        await self.refused(again, ProviderMisconfigured)
        self.assertIn("    roles is no list of roles: the sign-in is refused", steps)

    async def test_a_new_token_that_is_refused_is_a_fault_of_the_provider(self) -> None:
        self.user_status = 401
        await self.refused(self.completed(self.rotating()), ProviderUnavailable)

    async def test_a_user_without_a_name_or_an_identity(self) -> None:
        for wrong in ({"id": None}, {"preferred_username": 7}, {"roles": {}}):
            self.user = ALICE | wrong
            await self.refused(self.completed(self.rotating()), ProviderMisconfigured)


class ListTests(RotatingCase):
    """Groups and addresses at endpoints of their own."""

    def listing(self, options: str) -> Any:
        url = self.upstream.url
        lists = f"groups_uri = {url}/orgs, {url}/teams\ngroup_name = org.login/slug, login\nemails_uri = {url}/emails\n"
        return self.rotating(lists + options)

    def setUp(self) -> None:
        super().setUp()
        self.lists = {
            "/orgs": [{"login": "acme"}],
            "/teams": [{"slug": "admins", "org": {"login": "acme"}}],
            "/emails": [
                {"email": "b@example.org", "primary": False, "verified": True},
                {"email": "a@example.org", "primary": True, "verified": True},
            ],
        }

    async def test_groups_of_all_lists_are_the_claim_groups(self) -> None:
        self.user = ALICE | {"groups": ["from-the-user"], "roles": []}
        found = await self.completed(
            self.listing("role_map = acme/admins: admin\n    acme: member\n    from-the-user: other\nattributes = name")
        )
        self.assertEqual(found.principal.roles, ("admin", "member"))
        self.assertEqual(self.asked, ["/user", "/orgs", "/teams"])

    async def test_a_group_without_a_name_is_a_fault_of_the_configuration(self) -> None:
        self.lists["/orgs"] = [{"name": "acme"}]
        error = await self.refused(self.completed(self.listing("role_map = acme: member")), ProviderMisconfigured)
        self.assertEqual(error.detail, "the provider corp: a group has none of the members in group_name")

    async def test_who_is_known_and_may_not_come_in(self) -> None:
        provider = self.listing("allow_groups = acme\nrole_map = acme: member\nattributes = name")
        found = await self.completed(provider)
        self.lists["/orgs"] = []
        error = await self.refused(self.completed(provider), NotAllowedHere)
        self.assertEqual((error.attempted_user, error.detail), ("alice", "the user is in none of `allow_groups`"))
        self.good = {"1"}
        await self.refused(provider.renew(found.secret, "a-1"), NotAllowedHere)

    async def test_a_refresh_is_for_the_same_user(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        await self.refused(provider.renew(found.secret, "a-2"), Rejected)

    async def test_the_primary_address_is_the_address(self) -> None:
        self.user = ALICE | {"email": "c@example.org", "email_verified": True}
        provider = self.listing("email_domains = example.org")
        found = await self.completed(provider)
        self.assertEqual(found.principal.attributes, {"email": "a@example.org"})
        self.assertEqual(self.asked, ["/user", "/emails"])
        for addresses in (
            [],
            ["a@example.org"],
            [{"email": "a@example.org", "primary": True}],
            [{"email": "a@example.org", "verified": True}],
        ):
            self.lists["/emails"] = addresses
            await self.refused(self.completed(provider), NotAllowedHere)

    async def test_addresses_that_matter_to_nobody_are_not_asked_for(self) -> None:
        await self.completed(self.listing("attributes = name"))
        self.assertEqual(self.asked, ["/user"])
        self.asked.clear()
        await self.completed(self.listing("attributes = email"))
        self.assertEqual(self.asked, ["/user", "/emails"])


class RefreshTests(RotatingCase):
    async def test_a_good_access_token_is_used_and_nothing_rotates(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.user = ALICE | {"roles": ["admin"]}
        renewed = await provider.renew(found.secret, "a-1")
        self.assertEqual(renewed.principal.roles, ("admin",))
        self.assertEqual(len(self.forms), 1)

    async def test_an_expired_access_token_is_refreshed_and_the_new_refresh_token_kept(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        for _ in range(2):
            self.good = set()
            found = await provider.renew(found.secret, "a-1")
        self.assertEqual([form.get("refresh_token") for form in self.forms], [None, ["r1"], ["r2"]])

    async def test_a_refresh_token_that_does_not_rotate_stays(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.rotates = False
        for _ in range(2):
            self.good = set()
            found = await provider.renew(found.secret, "a-1")
        self.assertEqual([form.get("refresh_token") for form in self.forms], [None, ["r1"], ["r1"]])

    async def test_a_refresh_token_that_is_refused_ends_the_session(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.good, self.issued = set(), 7
        await self.refused(provider.renew(found.secret, "a-1"), Rejected)

    async def test_an_outage_after_the_refresh_does_not_lose_the_new_token(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.good, self.user_status = set(), 500
        renewed = await provider.renew(found.secret, "a-1")
        self.assertEqual(renewed.principal, found.principal)
        self.assertEqual(renewed.renew_after, renewed.at + SOON)
        self.user_status, self.user = 200, ALICE | {"roles": []}
        renewed = await provider.renew(renewed.secret, "a-1")
        self.assertEqual((renewed.principal.roles, renewed.renew_after), ((), renewed.at + 900))

    async def test_an_outage_is_not_ignored_for_long(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.user_status = 500
        for pause in (0.0, STALE - 1.0):
            self.time.advance(pause)
            self.good = set()
            found = await provider.renew(found.secret, "a-1")
        self.time.advance(1.0)
        self.good = set()
        await self.refused(provider.renew(found.secret, "a-1"), ProviderUnavailable)

    async def test_a_fault_of_the_configuration_ends_no_session(self) -> None:
        provider = self.rotating()
        found = await self.completed(provider)
        self.user = ALICE | {"roles": 7}
        await self.refused(provider.renew(found.secret, "a-1"), ProviderUnavailable)

    async def test_what_is_not_a_secret_of_this_kind(self) -> None:
        provider = self.rotating()
        for secret in (b"", b"{}", b"[]", b'{"access_token": "t", "more": 1}'):
            await self.refused(provider.renew(secret, "a-1"), Rejected)

    async def test_no_other_provider_gets_the_tokens(self) -> None:
        found = await self.completed(self.rotating())
        asked, other = len(self.asked), self.server(self.serve)
        for name in ("user_uri", "token_uri"):
            provider = self.provider("oauth2", self.section().replace(f"{name} = {self.upstream.url}", f"{name} = {other.url}"))
            await self.refused(provider.renew(found.secret, "a-1"), Rejected)
        self.assertEqual((len(self.asked), len(self.forms), other.requests), (asked, 1, []))

    async def test_without_a_refresh_token_none_is_asked_for(self) -> None:
        self.gives_refresh_tokens = False
        provider = self.rotating()
        found = await self.completed(provider)
        self.assertEqual((await provider.renew(found.secret, "a-1")).principal, found.principal)
        self.good = set()
        await self.refused(provider.renew(found.secret, "a-1"), Rejected)
        self.assertEqual(len(self.forms), 1)

    async def test_when_the_next_look_is_due(self) -> None:
        found = await self.completed(self.rotating("refresh = 5m\nlifetime = 2h"))
        self.assertEqual((found.renew_after, found.lifetime), (found.at + 300, 7200.0))
        found = await self.completed(self.rotating("refresh = 0"))
        self.assertEqual((found.renew_after, found.lifetime), (0.0, 0.0))

    async def test_no_token_is_shown(self) -> None:
        self.issued = 4_711_000
        found = await self.completed(self.rotating())
        self.assertNotIn("4711001", repr(found))
        self.assertIn(b"4711001", found.secret)
        kept = _read(found.secret)
        self.assertEqual((kept.access_token, kept.refresh_token), ("4711001", "r4711001"))
        self.assertNotIn("4711001", repr(kept))
        self.assertNotIn("alice", repr(kept))
