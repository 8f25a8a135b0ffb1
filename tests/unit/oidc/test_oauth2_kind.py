"""The options of type = oauth2, and those of type = oidc for groups elsewhere."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from perimeter.auth.registry import provider_factories
from perimeter.oidc.client_method import ClientMethod
from perimeter.plugin.redirect import IProviderFactory, IRenews
from tests.unit.doubles.sign_in import SignInCase

PLAIN = (
    "client_id = gateway\nclient_secret = s\nauthorize_uri = https://id.example.com/authorize\n"
    "token_uri = https://id.example.com/token\nuser_uri = https://id.example.com/user\nid_claim = id\n"
)
GITHUB = "preset = github\nclient_id = gateway\nclient_secret = s\n"
ENTRA = "preset = entra\nissuer = https://login.microsoftonline.com/t/v2.0\nclient_id = gateway\nclient_secret = s\n"


class OAuth2SettingsTests(SignInCase):
    def faults(self, text: str) -> list[str]:
        return self.parsed("oauth2", text)[1]

    def test_what_it_provides(self) -> None:
        factory = provider_factories()["oauth2"]
        verifyObject(IProviderFactory, factory)
        provider = self.provider("oauth2", PLAIN)
        verifyObject(IRenews, provider)
        self.assertEqual((provider.name, provider.realm, provider.title), ("corp", "corp", "corp"))
        self.assertEqual(self.provider("oauth2", f"{PLAIN}title = Forge\n").title, "Forge")

    def test_the_preset_of_github(self) -> None:
        settings, faults = self.parsed("oauth2", f"{GITHUB}allow_groups = acme\nrole_map = acme: member\n")
        self.assertEqual(faults, [])
        self.assertEqual(settings.authorize_uri, "https://github.com/login/oauth/authorize")
        self.assertEqual(settings.token_uri, "https://github.com/login/oauth/access_token")
        self.assertEqual(settings.user_uri, "https://api.github.com/user")
        self.assertEqual((settings.id_claim, settings.username_claim, settings.roles_claim), ("id", "login", ("groups",)))
        self.assertEqual((settings.method, settings.scopes), (ClientMethod.POST, ("read:org", "user:email")))
        self.assertTrue(settings.lists_groups)
        self.assertEqual(settings.prompt_again, "select_account")

    def test_groups_are_listed_where_they_decide(self) -> None:
        settings, _ = self.parsed("oauth2", f"{GITHUB}require = login:octocat\n")
        self.assertFalse(settings.lists_groups)
        settings, _ = self.parsed("oauth2", f"{GITHUB}require = login:octocat\nrole_map = acme: member\n")
        self.assertTrue(settings.lists_groups)
        settings, _ = self.parsed("oauth2", f"{PLAIN}role_map = acme: member\n")
        self.assertFalse(settings.lists_groups)

    def test_attack_162_a_name_that_anybody_can_choose_is_no_role(self) -> None:
        (fault,) = self.faults(f"{GITHUB}allow_groups = acme\n")
        self.assertIn("allow_groups: also needs role_map", fault)

    def test_a_provider_of_everybody_needs_a_limit(self) -> None:
        (fault,) = self.faults(GITHUB)
        self.assertIn("authorize_uri: everybody can have an account there", fault)
        for limit in ("require = login:octocat", "email_domains = example.com", "allow_groups = acme\nrole_map = acme: member"):
            self.assertEqual(self.faults(f"{GITHUB}{limit}\n"), [], limit)
        self.assertEqual(self.faults(PLAIN), [])
        (fault,) = self.faults(PLAIN.replace("https://id.example.com/auth", "https://GitHub.com/auth"))
        self.assertIn("everybody can have an account there", fault)

    def test_no_endpoint_over_plain_http(self) -> None:
        for name in ("authorize_uri", "token_uri", "user_uri"):
            (fault,) = self.faults(PLAIN.replace(f"{name} = https", f"{name} = http"))
            self.assertIn(f"{name}: expected an https URL", fault)
        for name in ("emails_uri", "groups_uri"):
            (fault,) = self.faults(f"{PLAIN}{name} = http://id.example.com/x\n")
            self.assertIn(f"{name}: expected an https URL", fault)
            self.assertEqual(self.faults(f"{PLAIN}{name} = http://127.0.0.1:1/x\n"), [])

    def test_other_presets_are_openid_providers(self) -> None:
        for preset in ("keycloak", "google", "entra", "gitlab"):
            faults = self.faults(f"preset = {preset}\n{PLAIN}")
            self.assertIn(f"preset: {preset} is an OpenID provider: type = oidc", faults)

    def test_faults_of_every_client_are_found_here_too(self) -> None:
        (fault,) = self.faults(PLAIN.replace("client_secret = s", "client_auth = basic"))
        self.assertIn("client_secret", fault)

    def test_a_name_that_can_change_is_no_identity(self) -> None:
        for claim in ("login", "email"):
            (fault,) = self.faults(PLAIN.replace("id_claim = id\n", f"id_claim = {claim}\n"))
            self.assertIn("id_claim", fault)

    def test_the_identity_is_the_claim_of_the_configuration(self) -> None:
        settings, _ = self.parsed("oauth2", PLAIN.replace("id_claim = id\n", "id_claim = uid\n"))
        self.assertEqual(settings.rules("corp", "corp").identity_claims, ("uid",))

    def test_the_identity_needs_a_claim(self) -> None:
        (fault,) = self.faults(PLAIN.replace("id_claim = id\n", ""))
        self.assertIn("id_claim", fault)


class GroupsElsewhereTests(SignInCase):
    def test_the_preset_of_entra(self) -> None:
        settings, faults = self.parsed("oidc", ENTRA)
        self.assertEqual(faults, [])
        self.assertEqual((settings.identity_claim, settings.graph_uri), (("tid", "oid"), ""))
        settings, faults = self.parsed("oidc", f"{ENTRA}groups_from = graph\n")
        self.assertEqual(faults, [])
        self.assertEqual(settings.graph_uri, "https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$select=id")

    def test_groups_that_decide_nothing_are_not_asked_for(self) -> None:
        settings, _ = self.parsed("oidc", f"{ENTRA}groups_from = graph\nroles_claim = roles\n")
        self.assertEqual(settings.graph_uri, "")

    def test_graph_needs_its_address(self) -> None:
        text = "issuer = https://id.example.com\nclient_id = gateway\nclient_secret = s\ngroups_from = graph\n"
        (fault,) = self.parsed("oidc", text)[1]
        self.assertIn("groups_from: graph also needs groups_uri", fault)
        (fault,) = self.parsed("oidc", f"{text}groups_uri = http://graph.example.com/me\n")[1]
        self.assertIn("groups_uri: expected an https URL", fault)

    def test_attack_162_a_group_of_a_public_provider_is_no_role(self) -> None:
        text = "preset = gitlab\nclient_id = gateway\nclient_secret = s\nallow_groups = acme\n"
        (fault,) = self.parsed("oidc", text)[1]
        self.assertIn("issuer: everybody can make groups there, so it also needs role_map", fault)
        self.assertEqual(self.parsed("oidc", f"{text}role_map = acme: member\n")[1], [])
        google = "preset = google\nclient_id = gateway\nclient_secret = s\ndomains = example.com\n"
        self.assertEqual(self.parsed("oidc", google)[1], [])

    def test_attack_162_roles_at_other_clients_of_a_keycloak_are_no_roles(self) -> None:
        text = "preset = keycloak\nissuer = https://sso.example.com/realms/corp\nclient_id = gateway\nclient_secret = s\n"
        settings, faults = self.parsed("oidc", text)
        self.assertEqual((faults, settings.roles_claim), ([], ("realm_access.roles", "groups")))
