"""``perimeter import``: the files that it reads and writes, and its messages."""

from __future__ import annotations

import stat
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import TestCase

from perimeter.auth.passwords.users import read_users
from perimeter.cli.checking import run_check
from perimeter.cli.exits import Exit
from perimeter.cli.importing import recognise
from perimeter.cli.main import main

DATA = Path(__file__).parents[2] / "data"
EXAMPLES = ("authotron.yaml", "ecflow.nginx.conf", "continuuity-site.xml", "logback.xml")
BCRYPT = "alice:$2y$05$" + "." * 53 + "\n"

MANUAL = """\
version: "2.0.0"
server: {host: 0.0.0.0, port: 8080}
metrics: {enabled: true, port: 9191}
providers:
  - {type: jwt, name: validation, realm: external, cert_uri: 'https://auth.example.com/jwks.json', iam_realm: example-realm}
  - {type: ecmwf-api, name: ecmwf_validator, realm: ecmwf, uri: 'https://api.example.com'}
  - {type: efas-api, name: efas_validator, realm: efas, uri: 'https://efas.example.com/api'}
  - type: openid-offline
    name: keycloak_offline
    realm: keycloak
    cert_uri: https://keycloak.example.com/realms/master/protocol/openid-connect/certs
    public_client_id: public-client
    private_client_id: private-client
    private_client_secret: super-secret-value
    iam_url: https://keycloak.example.com
  - type: ecmwf-token-generator
    name: ecmwf_token_gen
    realm: ecmwf
    cert_uri: https://auth.example.com/realms/default/protocol/openid-connect/certs
    client_id: my-client-id
    client_secret: my-client-secret
    token_generator_url: https://auth.example.com/token-generator
augmenters:
  - type: plain
    name: basic_roles
    realm: external
    roles:
      admin: [alice, bob]
      readonly: [guest, anonymous]
  - type: plain_advanced
    name: admin_boost
    realm: external
    match: {username: [admin, root], role: [superuser]}
    augment: {roles: [full_access, audit], attributes: {department: engineering, clearance: top-secret}}
  - type: ldap
    name: ldap_teams
    realm: external
    uri: ldap://ldap.company.com:389
    search_base: ou=teams,dc=company,dc=com
    filters:
      - OU=ApplicationRoles,DC=company,DC=com
      - OU=Operations,DC=company,DC=com
    bind_dn: cn=service,dc=company,dc=com
    ldap_password: service-password
"""


class ImportTests(TestCase):
    def setUp(self) -> None:
        self.dir = Path(self.mktemp()).resolve()
        self.dir.mkdir()
        self.site = self.dir / "site.ini"

    def run_command(self, *sources: Path, arguments: tuple[str, ...] = ()) -> Result:
        return CliRunner().invoke(main, ["import", *map(str, sources), "-o", str(self.site), *arguments])

    def source(self, name: str, text: str) -> Path:
        path = self.dir / name
        path.write_text(text)
        return path

    def test_the_manuals_examples_leave_nothing_and_check(self) -> None:
        for names in (
            *((name,) for name in EXAMPLES),
            ("authotron.yaml", "ecflow.nginx.conf"),
            ("ecflow.nginx.conf", "authotron.yaml"),
            ("continuuity-site.xml", "logback.xml"),
        ):
            result = self.run_command(*(DATA / name for name in names), arguments=("--force",))
            self.assertEqual(result.exit_code, 0, f"{names}: {result.output}")
            self.assertNotIn("not translated", result.output)
            status, text = run_check(self.site)
            self.assertEqual(status, 0, f"{names}: {text}")

    def test_auth_o_trons_port_goes_where_nginx_comes_along(self) -> None:
        self.assertEqual(self.run_command(DATA / "authotron.yaml", DATA / "ecflow.nginx.conf").exit_code, 0)
        self.assertNotIn("8080", self.site.read_text())
        self.assertEqual(self.run_command(DATA / "authotron.yaml", arguments=("--force",)).exit_code, 0)
        self.assertIn("port = 8080", self.site.read_text())

    def test_passwords_are_hashed_and_secrets_are_their_owners_alone(self) -> None:
        secret = "0123456789abcdef0123456789abcdef"
        source = self.source("a.yaml", (DATA / "authotron.yaml").read_text().replace("authotron-secret-key", secret))
        result = self.run_command(source)
        self.assertEqual(result.exit_code, 0, result.output)
        realm = self.dir / "plain-provider.realm"
        user = read_users(realm.read_bytes(), "f").by_name["someuser"]
        self.assertEqual(user.password.scheme, "argon2id")
        self.assertTrue(user.password.verify("somesecret"))
        for path in (realm, self.dir / "jwt.secret"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        for text in (self.site.read_text(), realm.read_text(), result.output):
            self.assertNotIn("somesecret", text)
            self.assertNotIn(secret, text)
        self.assertEqual(run_check(self.site)[0], 0)

    def test_what_is_left_is_reported_with_its_line_and_in_the_file(self) -> None:
        source = self.source("a.yaml", "bind_address: 127.0.0.1:8080\nnovelty: 1\n")
        result = self.run_command(source)
        self.assertEqual(result.exit_code, Exit.PARTLY)
        self.assertIn(f"not translated: {source}:2: novelty", result.output)
        self.assertIn(f"; {source}:2: novelty", self.site.read_text())
        self.assertEqual(run_check(self.site)[0], 0)

    def test_attack_48_a_route_for_files_that_is_closed_by_what_is_beside_them(self) -> None:
        (self.dir / "html" / "admin").mkdir(parents=True)
        (self.dir / "html" / "admin.txt").write_text("x")
        source = self.source(
            "nginx.conf", f"server {{ listen 80; root {self.dir}/html; location / {{ }} location /admin {{ deny all; }} }}"
        )
        self.assertEqual(self.run_command(source).exit_code, Exit.PARTLY)
        self.assertEqual(self.site.read_text().count("networks = 255.255.255.255/32"), 2)
        status, text = run_check(self.site)
        self.assertEqual(status, 0, text)

    def test_a_copied_configuration_reads_its_own_files(self) -> None:
        """Its absolute names are those of the machine that it comes from."""
        location = "location / { auth_basic x; auth_basic_user_file %s; proxy_pass http://127.0.0.1:1; }"
        (self.dir / "snippets").mkdir()
        (self.dir / "snippets" / "x.conf").write_text("client_max_body_size 3m;")
        (self.dir / "users").write_text(BCRYPT)
        text = "http { server { listen 80; include /etc/nginx/snippets/x.conf; " + location + " } }"
        for name in ("/etc/nginx/users", "users"):
            result = self.run_command(self.source("nginx.conf", text % name), arguments=("--force",))
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertIn("max_body = 3MiB", self.site.read_text())
            self.assertEqual((self.dir / "htpasswd.realm").read_text(), BCRYPT.replace(":", ": ", 1))
            self.assertEqual(run_check(self.site)[0], 0)

    def test_a_user_file_that_is_somewhere_else(self) -> None:
        (self.dir / "away").mkdir()
        (self.dir / "away" / "users").write_text(BCRYPT)
        text = "server { listen 80; location / { auth_basic x; auth_basic_user_file /x/users; proxy_pass http://127.0.0.1:1; } }"
        source = self.source("nginx.conf", text)
        result = self.run_command(source)
        self.assertIn("import its password file together with this one", result.output)
        self.assertEqual((self.dir / "users.realm").read_text(), "")
        given = str(self.dir / "away" / "users")
        for arguments in (("--user-file", given), (given,)):
            result = self.run_command(source, arguments=("--force", *arguments))
            self.assertEqual(result.exit_code, 0, result.output)
            self.assertNotIn("import its password file", result.output)
            self.assertEqual((self.dir / "htpasswd.realm").read_text(), BCRYPT.replace(":", ": ", 1))
            self.assertEqual(self.site.read_text().count("[authenticator "), 1)

    def test_files_that_exist_are_left_alone_unless_forced(self) -> None:
        (self.dir / "plain-provider.realm").write_text("precious")
        result = self.run_command(DATA / "authotron.yaml")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("plain-provider.realm exist already", result.output)
        self.assertFalse(self.site.exists())
        self.assertEqual((self.dir / "plain-provider.realm").read_text(), "precious")

    def test_without_output_the_text_is_printed_and_no_secret(self) -> None:
        result = CliRunner().invoke(main, ["import", str(DATA / "continuuity-site.xml")])
        self.assertEqual(result.exit_code, 0)
        self.assertIn("[authenticator directory]", result.stdout)
        self.assertIn("keystore.password belongs to it", result.stderr)
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_paths_that_are_there_stay_in_force(self) -> None:
        (self.dir / "html").mkdir()
        for name in ("certificate.crt", "private.key"):
            (self.dir / name).write_text("x")
        text = (DATA / "ecflow.nginx.conf").read_text().replace("/path/to/your/", f"{self.dir}/")
        source = self.source("n.conf", text.replace("/usr/share/nginx/html/server", f"{self.dir}/html"))
        result = self.run_command(source)
        self.assertEqual(result.exit_code, 0, result.output)
        written = self.site.read_text()
        self.assertIn(f"\ncertificate = {self.dir}/certificate.crt\n", written)
        self.assertIn(f"\nstatic = {self.dir}/html\n", written)
        self.assertIn("\npage = 500 502 503 504 /50x.html\n", written)
        self.assertEqual(run_check(self.site, files=False)[0], 0)
        status, text = run_check(self.site)
        self.assertEqual(status, 1)
        self.assertIn("certificate.crt: the file contains no certificate in PEM format", text)

    def test_all_that_auth_o_trons_manual_shows_checks(self) -> None:
        result = self.run_command(self.source("config.yaml", MANUAL))
        self.assertEqual(result.exit_code, 0, result.output)
        status, text = run_check(self.site)
        self.assertEqual(status, 0, text)
        self.assertEqual((self.dir / "keycloak_offline.secret").read_text(), "super-secret-value\n")
        for secret in ("super-secret-value", "service-password"):
            self.assertNotIn(secret, self.site.read_text() + result.output)

    def test_htpasswd(self) -> None:
        result = self.run_command(self.source(".htpasswd", BCRYPT + "bob:$apr1$abcdefgh$unknown\n"))
        self.assertEqual(result.exit_code, Exit.PARTLY)
        self.assertEqual(list(read_users((self.dir / "htpasswd.realm").read_bytes(), "f").by_name), ["alice"])
        self.assertEqual(run_check(self.site)[0], 0)

    def test_a_source_is_known_by_its_looks(self) -> None:
        for name, kind in zip(EXAMPLES, ("authotron", "nginx", "reactor", "logback"), strict=True):
            self.assertEqual(recognise((DATA / name).read_text()), kind)
        self.assertEqual(recognise(BCRYPT), "htpasswd")
        self.assertIsNone(recognise("hello\n"))
        result = self.run_command(self.source("x", "hello\n"))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("--as", result.output)

    def test_a_source_that_cannot_be_read_is_reported_with_its_line(self) -> None:
        source = self.source("a.yaml", "jwt: &a\n  iss: *a\n")
        result = self.run_command(source)
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"{source}:2: an alias", result.output)
        self.assertFalse(self.site.exists())
