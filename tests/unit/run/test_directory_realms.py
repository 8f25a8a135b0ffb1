"""The realms whose roles compare without case: those with an LDAP directory among their authenticators or augmenters."""

from __future__ import annotations

from perimeter.auth.registry import directory_realms, installed_kinds
from perimeter.config.site.load import load_site
from tests.unit.doubles.site import SITE, SiteCase

_LDAP = "hostname = localhost\nuser_base_dn = dc=example\n"
_STACK = "type = login-modules\nmodules = {modules}\n"
_LDAP_OPTIONS = "option.hostname = localhost\noption.user_base_dn = dc=example\n"


class DirectoryRealmTests(SiteCase):
    def realms(self, sections: str) -> frozenset[str]:
        kinds = installed_kinds()
        self.site.write_text(SITE.replace("type = file", "type = realmfile") + sections)
        return directory_realms(load_site(self.site, kinds=kinds, environ={}), kinds)

    def test_authenticators(self) -> None:
        self.assertEqual(self.realms(""), frozenset())
        self.assertEqual(self.realms(f"[authenticator a]\ntype = ldap\nrealm = corp\n{_LDAP}"), {"corp"})

    def test_augmenters(self) -> None:
        ldap = "type = ldap\nuri = ldap://localhost\nsearch_base = dc=example\n"
        self.assertEqual(self.realms(f"[augmenter a]\nrealm = local\n{ldap}"), {"local"})
        self.assertEqual(self.realms("[augmenter a]\ntype = match\nrealm = local\nrole = a\nadd_roles = b\n"), frozenset())

    def test_login_modules(self) -> None:
        users = "option.path = users\n"
        for modules, options, expected in (
            ("ldap required", _LDAP_OPTIONS, {"stack"}),
            ("realmfile sufficient, ldap required", _LDAP_OPTIONS + users, {"stack"}),
            ("realmfile required", users, set()),
        ):
            found = self.realms(f"[authenticator stack]\n{_STACK.format(modules=modules)}{options}")
            self.assertEqual(found, expected, modules)
