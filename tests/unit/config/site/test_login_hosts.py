"""The host of the sign-in page, the hosts of routes, and the warnings about origins that scripts of services share."""

from __future__ import annotations

from tests.unit.doubles.site import SITE, SiteCase

HOST = "[login]\nhost = SSO.example.org\n"
OPERATOR = "[operator]\nrole = admin\n"
SHARED = (
    "[operator] role: the operator's page has the same host as the services, whose scripts could act on it in an operator's "
    "browser: set [login] host"
)
ALSO = "[route {}] also serves sso.example.org, the host in [login]: scripts of its service share the origin of the sign-in page"


def site(hosts: str = "", more: str = "browser_login = yes\n") -> str:
    return SITE.replace("path = /\n", "path = /\n" + (f"host = {hosts}\n" if hosts else "") + more)


class HostTests(SiteCase):
    def test_it_is_a_name_without_a_port(self) -> None:
        self.assertEqual(self.load(SITE).login.host, "")
        self.assertEqual(self.load(site("app.example.org") + HOST).login.host, "sso.example.org")
        (found,) = self.problems(f"{SITE}[login]\nhost = sso.example.org:8443\n")
        self.assertIn("[login] host: expected a host name or address, without a port", found)

    def test_a_route_with_browser_login_needs_a_host_of_its_own(self) -> None:
        for hosts in ("", "*"):
            (found,) = self.problems(site(hosts) + HOST)
            self.assertIn("[route app] host: must be set, because [login] host is", found)
        for hosts in ("app.example.org", "*.example.org", "a.example.org, b.example.org"):
            self.load(site(hosts) + HOST)
        self.load(site("", "") + HOST)
        self.load(site())

    def test_a_host_that_is_misspelt_is_reported_once(self) -> None:
        (found,) = self.problems(site("a b") + HOST)
        self.assertIn("expected a host name", found)


class WarningTests(SiteCase):
    def warned(self, text: str) -> list[str]:
        return [one for one in self.load(text).warnings if "share" in one or "same host" in one]

    def test_an_operator_page_beside_services(self) -> None:
        self.assertEqual(self.warned(site() + OPERATOR), [SHARED])
        for text in (site(), site("", "") + OPERATOR, site("app.example.org") + OPERATOR + HOST):
            self.assertEqual(self.warned(text), [])

    def test_the_gateway_s_own_sample_has_no_foreign_scripts(self) -> None:
        sample = site().replace("servers = http://127.0.0.1:8888", "servers = sample:")
        self.assertNotEqual(sample, site())
        self.assertEqual(self.warned(sample + OPERATOR), [])

    def test_a_service_on_the_host_of_the_sign_in_page(self) -> None:
        for hosts in ("sso.example.org", "*.example.org", "**.org", "app.example.org, sso.example.org"):
            self.assertEqual(self.warned(site(hosts) + HOST), [ALSO.format("app")], hosts)
        self.assertEqual(self.warned(site("", "") + HOST + OPERATOR), [ALSO.format("app")])
        for hosts in ("app.example.org", "*.sso.example.org", "*.org"):
            self.assertEqual(self.warned(site(hosts) + HOST), [], hosts)
