"""type = oauth2 against a server that behaves as GitHub does, and type = oidc against one that behaves as Entra does."""

from __future__ import annotations

import atexit
import re
from typing import Any

import requests
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.errors import NotAllowedHere, ProviderDenied, ProviderMisconfigured, ProviderUnavailable, Rejected
from tests.integration.harness import LOGIN_ROUTES, USERS, GatewayCase, site
from tests.integration.like_entra import ADMINS, ALICE, OTHER_TENANT, TENANT, group
from tests.integration.like_github import EMAILS, OCTOCAT, ORGANIZATIONS, TEAMS
from tests.integration.like_provider import CLIENT, SECRET, LikeProvider
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually
from tests.integration.visitor import Visitor
from tests.unit.doubles.sign_in import CALLBACK, SignInCase
from tests.unit.oidc.test_manual import blocks

_running: dict[str, LikeProvider] = {}


def running(kind: str) -> LikeProvider:
    """The server of this process, started when it is asked for first."""
    if kind not in _running:
        _running[kind] = LikeProvider(kind)
        atexit.register(_running[kind].close)
    return _running[kind]


class GitHubCase(SignInCase):
    def setUp(self) -> None:
        super().setUp()
        self.github = running("like_github")
        self.github.set(
            user=OCTOCAT, organizations=ORGANIZATIONS, teams=TEAMS, emails=EMAILS, denied=False, revoked=False, broken=[]
        )
        self.github.asked()

    def at_github(self, options: str = "", *, secret: str = "s3cr:t+ &") -> Any:
        """The preset, with the addresses of the server."""
        url = self.github.url
        options = options or "role_map = acme/admins: admin\n    acme: member\nallow_groups = acme"
        return self.provider(
            "oauth2",
            f"preset = github\nclient_id = gateway\nclient_secret = {secret}\nauthorize_uri = {url}/login/oauth/authorize\n"
            f"token_uri = {url}/login/oauth/access_token\nuser_uri = {url}/user\nemails_uri = {url}/user/emails\n"
            f"groups_uri = {url}/user/orgs, {url}/user/teams\n{options}",
        )


class GitHubTests(GitHubCase):
    async def test_organizations_and_teams_become_roles(self) -> None:
        found = await self.signed_in(self.at_github())
        user = found.principal
        self.assertEqual((user.username, user.realm, user.roles), ("octocat", "corp", ("admin", "member")))
        self.assertEqual((found.issuer, found.subject), (f"{self.github.url}/user", "583231"))
        self.assertEqual((found.factors, found.sid), (1, ""))
        self.assertEqual(
            self.github.asked(),
            [
                "GET /login/oauth/authorize",
                "POST /login/oauth/access_token",
                "GET /user",
                *["GET /user/orgs"] * 2,
                *["GET /user/teams"] * 2,
                "GET /user/emails",
            ],
        )

    async def test_a_role_on_the_last_page_counts(self) -> None:
        self.github.set(teams=[("acme", f"t{number}") for number in range(20)] + [("acme", "admins")])
        found = await self.signed_in(self.at_github())
        self.assertEqual(found.principal.roles, ("admin", "member"))

    async def test_groups_are_not_asked_for_where_they_decide_nothing(self) -> None:
        found = await self.signed_in(self.at_github("require = login:octocat"))
        self.assertEqual(found.principal.roles, ())
        self.assertEqual(self.github.asked()[2:], ["GET /user", "GET /user/emails"])
        await self.signed_in(self.at_github("require = login:octocat\nattributes = name"))
        self.assertEqual(self.github.asked()[2:], ["GET /user"])

    async def test_what_became_of_the_claims_is_explained(self) -> None:
        steps: list[str] = []
        await self.signed_in(self.at_github(), self.flow(explain=steps.append))
        self.assertIn("role_map: acme/admins gives admin", steps)
        self.assertIn("identity, for good: id = 583231", steps)
        self.assertFalse([step for step in steps if "gho_" in step])

    async def test_who_is_in_no_allowed_group(self) -> None:
        self.github.set(organizations=["elsewhere"], teams=[])
        error = await self.refused(self.signed_in(self.at_github()), NotAllowedHere)
        self.assertEqual(error.attempted_user, "octocat")

    async def test_attack_164_a_verified_address_decides(self) -> None:
        with_domain = self.at_github("email_domains = example.com")
        found = await self.signed_in(with_domain)
        self.assertEqual(found.principal.attributes["email"], "octocat@example.com")
        for emails in (
            [],
            [EMAILS[0]],
            [EMAILS[1] | {"verified": False}],
            [EMAILS[1] | {"primary": False}],
            [EMAILS[1] | {"email": "octocat@example.com.evil"}],
        ):
            self.github.set(emails=emails)
            await self.refused(self.signed_in(with_domain), NotAllowedHere)

    async def test_attack_164_the_address_of_the_profile_does_not_count(self) -> None:
        self.github.set(user=OCTOCAT | {"email": "octocat@example.com", "email_verified": True}, emails=[])
        await self.refused(self.signed_in(self.at_github("email_domains = example.com")), NotAllowedHere)
        await self.refused(self.signed_in(self.at_github("require = email:octocat@example.com")), NotAllowedHere)
        found = await self.signed_in(self.at_github("require = login:octocat"))
        self.assertNotIn("email", found.principal.attributes)

    async def test_the_name_may_change_and_the_identity_does_not(self) -> None:
        first = await self.signed_in(self.at_github())
        self.github.set(user=OCTOCAT | {"login": "renamed"})
        second = await self.signed_in(self.at_github())
        self.assertEqual((second.principal.username, second.subject), ("renamed", first.subject))

    async def test_an_id_is_a_number_or_a_text(self) -> None:
        for wrong in (None, True, 1.5, "", [1], "ü"):
            self.github.set(user=OCTOCAT | {"id": wrong})
            await self.refused(self.signed_in(self.at_github()), ProviderMisconfigured)


class GitHubErrorTests(GitHubCase):
    async def test_errors_come_with_status_200(self) -> None:
        error = await self.refused(self.signed_in(self.at_github(secret="hunter2")), ProviderMisconfigured)
        self.assertIn("incorrect_client_credentials", error.detail)
        self.assertNotIn("hunter2", error.detail)

    async def test_the_user_says_no(self) -> None:
        self.github.set(denied=True)
        await self.refused(self.signed_in(self.at_github()), ProviderDenied)

    async def test_a_code_is_for_the_browser_that_began(self) -> None:
        provider = self.at_github()
        parameters = await self.begun(provider, self.flow(b"v" * 32))
        await self.refused(provider.complete(parameters, self.flow(b"a" * 32)), Rejected)

    async def test_a_code_is_used_once(self) -> None:
        provider, flow = self.at_github(), self.flow()
        parameters = await self.begun(provider, flow)
        await provider.complete(parameters, flow)
        await self.refused(provider.complete(parameters, flow), Rejected)

    async def test_attack_163_groups_that_cannot_be_read_are_not_no_groups(self) -> None:
        for path in ("/user/orgs", "/user/teams", "/user"):
            self.github.set(broken=[path])
            await self.refused(self.signed_in(self.at_github()), ProviderUnavailable)

    async def test_a_scope_that_was_not_given_is_not_no_groups(self) -> None:
        provider = self.at_github("role_map = acme: member\nallow_groups = acme\nscopes = user:email")
        await self.refused(self.signed_in(provider), ProviderUnavailable)


class GitHubRefreshTests(GitHubCase):
    async def test_a_role_that_was_taken_away(self) -> None:
        provider = self.at_github()
        found = await self.signed_in(provider)
        self.assertEqual(found.renew_after, found.at + 900)
        self.github.set(teams=[])
        renewed = await provider.renew(found.secret, found.subject)
        self.assertEqual(renewed.principal.roles, ("member",))
        self.github.set(organizations=[])
        await self.refused(provider.renew(renewed.secret, found.subject), NotAllowedHere)

    async def test_a_token_that_was_revoked_ends_the_session(self) -> None:
        provider = self.at_github()
        found = await self.signed_in(provider)
        self.github.set(revoked=True)
        await self.refused(provider.renew(found.secret, found.subject), Rejected)

    async def test_an_outage_decides_nothing(self) -> None:
        provider = self.at_github()
        found = await self.signed_in(provider)
        for path in ("/user", "/user/teams"):
            self.github.set(broken=[path])
            await self.refused(provider.renew(found.secret, found.subject), ProviderUnavailable)

    async def test_another_user_is_refused(self) -> None:
        provider = self.at_github()
        found = await self.signed_in(provider)
        self.github.set(user=OCTOCAT | {"id": 1})
        await self.refused(provider.renew(found.secret, found.subject), Rejected)

    async def test_without_refresh(self) -> None:
        found = await self.signed_in(self.at_github("require = login:octocat\nrefresh = 0\nlifetime = 2h"))
        self.assertEqual((found.renew_after, found.lifetime), (0.0, 7200.0))


class EntraCase(SignInCase):
    def setUp(self) -> None:
        super().setUp()
        self.entra = running("like_entra")
        self.entra.set(tenant=TENANT, oid=ALICE, groups=[ADMINS, group(1)], graph_status=200, disabled=False)
        self.entra.asked()

    def at_entra(self, options: str = "", tenant: str = "organizations") -> Any:
        url = self.entra.url
        options = options or f"tenants = {TENANT}"
        return self.provider(
            "oidc",
            f"preset = entra\nissuer = {url}/{tenant}/v2.0\nclient_id = gateway\nclient_secret = s3cr:t+ &\n"
            f"scopes = openid, profile, email, offline_access\ngroups_uri = {url}/v1.0/me/transitiveMemberOf?$select=id\n"
            f"role_map = {ADMINS}: admin\n{options}",
        )


class EntraTests(EntraCase):
    async def test_the_identity_is_tenant_and_object(self) -> None:
        found = await self.signed_in(self.at_entra())
        user = found.principal
        self.assertEqual((user.username, user.roles), ("alice@corp.example", ("admin",)))
        self.assertEqual((found.issuer, found.subject), (f"{self.entra.url}/{TENANT}/v2.0", f"{TENANT}/{ALICE}"))

    async def test_the_issuer_of_one_tenant(self) -> None:
        found = await self.signed_in(self.at_entra("refresh = 5m", TENANT))
        self.assertEqual(found.principal.roles, ("admin",))

    async def test_attack_o5_another_tenant_is_refused(self) -> None:
        self.entra.set(tenant=OTHER_TENANT)
        await self.refused(self.signed_in(self.at_entra()), Rejected)
        await self.refused(self.signed_in(self.at_entra("refresh = 5m", TENANT)), Rejected)

    async def test_200_groups_are_in_the_token(self) -> None:
        self.entra.set(groups=[group(number) for number in range(199)] + [ADMINS])
        found = await self.signed_in(self.at_entra(f"tenants = {TENANT}\ngroups_from = graph"))
        self.assertEqual(found.principal.roles, ("admin",))
        self.assertNotIn("GET /v1.0/me/transitiveMemberOf", self.entra.asked())

    async def test_more_groups_come_from_graph(self) -> None:
        self.entra.set(groups=[group(number) for number in range(350)] + [ADMINS])
        provider = self.at_entra(f"tenants = {TENANT}\ngroups_from = graph")
        found = await self.signed_in(provider)
        self.assertEqual(found.principal.roles, ("admin",))
        self.assertEqual(self.entra.asked().count("GET /v1.0/me/transitiveMemberOf"), 4)
        self.entra.set(groups=[group(number) for number in range(350)])
        renewed = await provider.renew(found.secret, found.subject)
        self.assertEqual(renewed.principal.roles, ())

    async def test_attack_163_too_many_groups_are_never_no_groups(self) -> None:
        self.entra.set(groups=[group(number) for number in range(201)])
        error = await self.refused(self.signed_in(self.at_entra()), ProviderMisconfigured)
        self.assertIn("has left out groups", error.detail)

    async def test_without_the_permission_for_graph(self) -> None:
        self.entra.set(groups=[group(number) for number in range(201)], graph_status=403)
        error = await self.refused(self.signed_in(self.at_entra(f"tenants = {TENANT}\ngroups_from = graph")), ProviderUnavailable)
        self.assertIn("groups", error.detail)
        self.assertIn("status 403", error.detail)

    async def test_a_disabled_account_ends_the_session(self) -> None:
        provider = self.at_entra()
        found = await self.signed_in(provider)
        self.entra.set(disabled=True)
        await self.refused(provider.renew(found.secret, found.subject), Rejected)

    async def test_the_redirect_is_the_registered_one(self) -> None:
        url = await self.at_entra().begin(self.flow())
        self.assertIn("code_challenge_method=S256", url)
        self.assertIn(CALLBACK.replace(":", "%3A").replace("/", "%2F"), url)


def section(page: str, number: int, **changes: str) -> str:
    """An example of a page of the manual, in which options have other values or are added."""
    text = blocks(page, "ini")[number].replace("https://gw.example.com", "https://127.0.0.1:@https@")
    for name, value in {"client_id": CLIENT, "client_secret": SECRET, "refresh": "1s", **changes}.items():
        line = f"{name} = {value}\n"
        text, found = re.subn(rf"^{name} = .*\n", lambda _, line=line: line, text, flags=re.M)
        text = text if found else text + line
    return text


class GatewayTests(GatewayCase):
    """Both behind a gateway that is configured as the manual says, as a browser meets them."""

    def setUp(self) -> None:
        self.github, self.entra = running("like_github"), running("like_entra")
        self.github.set(user=OCTOCAT, organizations=ORGANIZATIONS, teams=TEAMS, denied=False, revoked=False, broken=[])
        self.entra.set(tenant=TENANT, oid=ALICE, groups=[group(number) for number in range(350)] + [ADMINS], graph_status=200)
        self.app = self.upstream()
        routes = LOGIN_ROUTES.replace("<service>", self.app.url)
        at, graph = self.github.url, f"{self.entra.url}/v1.0/me/transitiveMemberOf?$select=id"
        addresses = {"authorize_uri": f"{at}/login/oauth/authorize", "token_uri": f"{at}/login/oauth/access_token"}
        addresses |= {
            "user_uri": f"{at}/user",
            "emails_uri": f"{at}/user/emails",
            "groups_uri": f"{at}/user/orgs, {at}/user/teams",
        }
        extra = section("github", 0, **addresses)
        extra += section("entra", 1, issuer=f"{self.entra.url}/{TENANT}/v2.0", groups_uri=graph)
        own = identity("127.0.0.1")
        key = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        config = site(routes, tls=True, extra=extra).replace(
            "tls = yes\n", "tls = yes\ncertificate = own.pem\nprivate_key = own.key\n"
        )
        self.served = self.gateway(config, USERS | {"own.pem": pem(*own.chain), "own.key": key})
        self.visitor = Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / "own.pem")
        self.addCleanup(self.visitor.close)

    def sign_in(self, provider: str) -> int:
        """The status of the callback, after the provider that asks nothing."""
        begun = self.visitor.navigate(f"/.perimeter/start/{provider}?to=/admin/x")
        self.assertEqual(begun.status_code, 302, begun.text)
        answered = requests.get(begun.headers["Location"], allow_redirects=False, timeout=20)
        return self.visitor.navigate(answered.headers["Location"]).status_code

    def user(self, target: str) -> tuple[int, str | None, str | None]:
        """The status of a request, and whom the service saw."""
        before = len(self.app.requests)
        status = self.visitor.get(target).status_code
        if len(self.app.requests) == before:
            return status, None, None
        seen = self.app.requests[-1]
        return status, seen.get("x-auth-username"), seen.get("x-auth-roles")

    def test_github_and_entra_on_one_page(self) -> None:
        page = self.visitor.navigate("/.perimeter/login?to=/admin/x").text
        self.assertIn("GitHub", page)
        self.assertIn("Microsoft", page)
        self.assertEqual(self.sign_in("github"), 303)
        self.assertEqual(self.user("/admin/x"), (200, "octocat", "admin,member"))
        self.visitor.sign_out()
        self.assertEqual(self.sign_in("entra"), 303)
        self.assertEqual(self.user("/admin/x"), (200, "alice@corp.example", "admin"))

    def test_a_role_that_github_takes_away_is_gone_after_the_refresh(self) -> None:
        self.assertEqual(self.sign_in("github"), 303)
        self.assertEqual(self.user("/admin/x")[0], 200)
        self.github.set(teams=[])
        eventually(lambda: self.user("/admin/x")[0] == 403, "the role is gone")
        self.github.set(organizations=[])
        eventually(lambda: self.user("/x")[0] != 200, "the session has ended")
        self.assertEqual(self.user("/x")[0], 401)

    def test_who_may_not_come_in_gets_a_page_and_no_session(self) -> None:
        self.github.set(organizations=["elsewhere"], teams=[])
        self.assertEqual(self.sign_in("github"), 403)
        self.assertEqual(self.user("/x"), (401, None, None))
        self.assertIsNone(self.visitor.cookie)

    def test_attack_163_groups_that_cannot_be_read_let_nobody_in(self) -> None:
        self.github.set(broken=["/user/orgs"])
        self.assertEqual(self.sign_in("github"), 503)
        self.assertIsNone(self.visitor.cookie)
        self.entra.set(graph_status=403)
        self.assertEqual(self.sign_in("entra"), 503)
        self.assertIsNone(self.visitor.cookie)
