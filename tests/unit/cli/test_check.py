"""``perimeter check``, and the reference page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from perimeter.auth.registry import installed_kinds
from perimeter.cli.checking import run_check
from perimeter.cli.main import main
from perimeter.cli.reference import example, own_page
from perimeter.config.site.kinds import KINDS
from perimeter.config.site.load import load_site
from perimeter.plugin.authenticator import IAuthenticator
from perimeter.plugin.kinds import PluginKinds
from tests.unit.doubles.site import INSTALLED, SITE, FileFactory, SiteCase

MORE = """\
[route site]
host = a.example, b.example
path = /site
static = html
auth = none
networks = 10.0.0.0/8

[route v6]
path = /v6
upstream = v6
rewrite = /
auth = optional
allow = role:admin, user:bob
deny = method:PUT
identity = none

[upstream v6]
servers = https://[::1]:8443, http://b
"""
SELF_MADE = "[listener https] has no certificate: a self-signed one is made in state_dir, which clients cannot verify"

ROOT = Path(__file__).parents[3]


@implementer(IAuthenticator)
class Built:
    """An authenticator that is built and never asked."""

    def __init__(self, name: str, realm: str) -> None:
        self.name, self.realm = name, realm

    async def authenticate(self, credentials: Any, request: Any) -> None:
        raise AssertionError("a check asks no authenticator")


class BuildingFactory(FileFactory):
    """``type = file``, whose authenticators are built."""

    def build(self, name: str, realm: str, settings: Any, services: Any) -> IAuthenticator:
        return Built(name, realm)


KINDS_HERE = PluginKinds({"file": BuildingFactory()}, INSTALLED.augmenters)


class CheckCase(SiteCase):
    def check(self, text: str, *, files: bool = True, kinds: PluginKinds | None = KINDS_HERE) -> tuple[int, list[str]]:
        self.site.write_text(text)
        status, told = run_check(self.site, kinds=kinds, files=files)
        return status, told.replace(f"{self.directory}/", "").splitlines()


class CheckTests(CheckCase):
    def test_a_valid_file_prints_warnings_and_routes(self) -> None:
        status, (warning, gap, *table) = self.check(SITE + MORE)
        self.assertEqual((status, gap), (0, ""))
        self.assertEqual(warning, f"warning: {SELF_MADE}")
        cells = [re.split(" {2,}", line) for line in table]
        self.assertEqual(
            cells,
            [
                ["HOST", "PATH", "TARGET", "AUTH", "RULES", "IDENTITY"],
                ["a.example", "/site", "html", "none", "from 10.0.0.0/8", "-"],
                ["b.example", "/site", "html", "none", "from 10.0.0.0/8", "-"],
                [
                    *("*", "/v6", "v6 (https://[::1]:8443, http://b:80) as /", "optional"),
                    *("allow role:admin, user:bob; deny method:PUT", "none"),
                ],
                ["*", "/", "app (http://127.0.0.1:8888)", "required", "-", "headers"],
            ],
        )

    def test_the_table_shows_limits(self) -> None:
        more = (
            "networks = 10.0.0.0/8\nrate = 5/s per user burst 9, 1/h per route\nin_flight = 2 per address\nrequest_timeout = 2m\n"
        )
        text = SITE.replace("path = /\n", f"path = /\n{more}")
        self.assertEqual(
            re.split(" {2,}", self.check(text)[1][-1])[4],
            "from 10.0.0.0/8; within rate 5/s per user burst 9, rate 1/h per route, in_flight 2 per address, "
            "request_timeout 120s",
        )

    def test_the_table_shows_rules_and_pages_of_other_sites(self) -> None:
        more = "allow = role:a and (user:b or not network:10.0.0.0/8),\n  realm:local\ncors = https://app.example, https://b.example\n"
        text = SITE.replace("path = /\n", f"path = /\n{more}")
        self.assertEqual(
            re.split(" {2,}", self.check(text)[1][-1])[4],
            "allow role:a and (user:b or not network:10.0.0.0/8), realm:local; cors https://app.example, https://b.example",
        )

    def test_the_table_shows_connections_compression_and_maintenance(self) -> None:
        text = SITE.replace("servers = http://127.0.0.1:8888", "servers = unix:/run/app.sock\nproxy_protocol = v2")
        text = text.replace("path = /\n", "path = /\nmaintenance = yes\ncompression = br, gzip\n")
        row = re.split(" {2,}", self.check(text)[1][-1])
        self.assertEqual(row[2], "app (unix:/run/app.sock; PROXY protocol v2); br, gzip")
        self.assertEqual(row[4], "maintenance, open to no client")
        row = re.split(" {2,}", self.check(text.replace("compression", "maintenance_allow = 10.0.0.0/8\ncompression"))[1][-1])
        self.assertEqual(row[4], "maintenance, open to 10.0.0.0/8")
        pin = f"sha256//{'A' * 43}="
        (self.directory / "own.pem").write_text("")
        text = SITE.replace("http://127.0.0.1:8888", f"https://b:1\nclient_certificate = own.pem\npin = {pin}")
        row = re.split(" {2,}", self.check(text, files=False)[1][-1])
        self.assertEqual(row[2], "app (https://b:1; client certificate; pinned keys)")

    def test_a_state_that_machines_share_is_named_without_its_password(self) -> None:
        self.assertEqual([line for line in self.check(SITE)[1] if "state" in line and "warning" not in line], [])
        secret = self.directory / "cluster.secret"
        secret.write_text("0123456789abcdef0123456789abcdef\n")
        secret.chmod(0o600)
        options = (
            "state = redis\nredis_url = rediss+sentinel://gw:wonderland@10.0.0.1,[::1]:7000/main/2\n"
            "cluster_secret = cluster.secret\nnode = gw-1\n"
        )
        status, lines = self.check(f"[perimeter]\n{options}\n{SITE}")
        self.assertEqual((status, lines[-2]), (0, ""))
        self.assertRegex(
            lines[-1],
            r"^state: Redis at the primary main that Sentinels know \(10\.0\.0\.1:26379, \[::1\]:7000\), database 2, with TLS, "
            r"as user gw; this is node gw-1; configuration [0-9a-f]{12}$",
        )
        shown = run_check(self.site, kinds=KINDS_HERE)[1]
        self.assertNotIn("wonderland", shown)

    def test_pages_of_other_sites_that_can_send_no_credentials(self) -> None:
        cors = "cors = https://app.example\n"
        for more, warned in (
            ("", True),
            ("cors_headers = X-A\n", True),
            ("cors_headers = X-A, authorization\n", False),
            ("cors_credentials = yes\n", False),
            ("auth = optional\n", False),
        ):
            text = SITE.replace("path = /\n", f"path = /\n{cors}{more}")
            told = [line for line in self.check(text)[1] if "the pages cannot send credentials" in line]
            self.assertEqual(len(told), warned, more)
        text = SITE.replace("path = /\n", "path = /\ncors = pass\n")
        self.assertNotIn("cannot send credentials", "".join(self.check(text)[1]))

    def test_a_rule_about_certificates_that_no_listener_asks_for(self) -> None:
        text = SITE.replace("path = /\n", "path = /\ndeny = not certificate:cn=x\n")
        self.assertIn(
            "warning: [route app] has a rule with certificate:, but no listener has a client_ca: in allow it never matches, and "
            "in deny it refuses every client",
            self.check(text)[1],
        )

    def test_listeners_are_shown_if_one_is_unusual(self) -> None:
        for name in ("a.crt", "b.crt", "a.key"):
            (self.directory / name).write_text("x")
        more = (
            "[listener socket]\ninterface = unix:/run/gw.sock\nmode = 0606\nproxy_protocol = 10.0.0.0/8, unix:\n"
            "[listener both]\nport = 9444\ntls = yes\ncertificate = a.crt\n  b.crt\nprivate_key = a.key\n  a.key\n"
            "unknown_name = refuse\nclient_ca = a.crt\n"
        )
        _, lines = self.check(SITE + more, files=False)
        cells = [re.split(" {2,}", line) for line in lines[2:7]]
        self.assertEqual(
            cells,
            [
                ["LISTENER", "PLACE", "CLIENTS", "CERTIFICATES"],
                ["https", "127.0.0.1:9443", "all", "self-signed"],
                ["socket", "unix:/run/gw.sock, mode 0606", "PROXY protocol from 10.0.0.0/8, unix:", "no TLS"],
                ["both", "*:9444", "all; certificate optional", "a.crt, b.crt; other names refused"],
                [""],
            ],
        )
        for options in ("proxy_protocol = 10.0.0.0/8\n", "unknown_name = refuse\n"):
            text = SITE.replace("tls = yes\n", f"tls = yes\n{options}")
            self.assertEqual(self.check(text)[1][2].split()[0], "LISTENER")
        self.assertEqual(self.check(SITE)[1][2].split()[0], "HOST")

    def test_the_table_says_which_routes_have_the_sign_in_page(self) -> None:
        text = SITE.replace("path = /\n", "path = /\nbrowser_login = yes\n")
        self.assertEqual(re.split(" {2,}", self.check(text)[1][-1])[3], "required; sign-in page")
        self.assertEqual(re.split(" {2,}", self.check(f"{text}[perimeter]\nenabled = no\n")[1][-1])[3], "off")

    def test_attack_42_credentials_for_a_service_are_not_shown(self) -> None:
        for value, shown in (
            ("basic bob hunter2", "fixed"),
            ("bearer hunter2", "fixed"),
            ("fixed hunter2", "fixed"),
            ("pass", "pass"),
        ):
            status, lines = self.check(SITE.replace("path = /\n", f"path = /\nauthorization = {value}\n"))
            self.assertEqual(status, 0)
            self.assertTrue(lines[-1].endswith(f"  headers; authorization {shown}"), lines)
            self.assertNotIn("hunter2", "".join(lines))
            self.assertNotIn("aHVudGVyMg", "".join(lines))

    def test_the_table_shows_header_rules_and_users_who_may_only_read(self) -> None:
        for options, shown in (
            ("request_headers = set X-Key file:key\n  remove X-A\n", "headers; request headers: set X-Key, remove X-A"),
            ("response_headers = add X-A hidden\n", "headers; response headers: add X-A"),
            ("security_headers = strict\nupstream_host = upstream\n", "headers; security headers; Host upstream"),
            ("upstream_authorization = bearer hidden\n", "headers; authorization fixed"),
        ):
            (self.directory / "key").write_text("hidden")
            status, lines = self.check(SITE.replace("path = /\n", f"path = /\n{options}"))
            self.assertEqual((status, re.split(" {2,}", lines[-1])[5]), (0, shown))
            self.assertNotIn("hidden", "".join(lines))
        options = "audit_body = json:/a\nread_only = role:viewer\nread_only_commands = Ping\n"
        self.assertEqual(
            re.split(" {2,}", self.check(SITE.replace("path = /\n", f"path = /\n{options}"))[1][-1])[4], "read-only role:viewer"
        )
        text = SITE.replace("upstream = app", "static = html\nresponse_headers = remove ETag")
        self.assertEqual(re.split(" {2,}", self.check(text)[1][-1])[5], "response headers: remove ETag")

    def test_realm_files_that_are_there_are_read(self) -> None:
        self.site.write_text(SITE.replace("type = file\npath = users", "type = realmfile\npath = users.realm"))
        realm = self.site.parent / "users.realm"
        realm.write_text("alice: {plain}x\n")
        self.assertEqual(run_check(self.site)[0], 0)
        realm.write_text("# as `perimeter password > users.realm` leaves it when it is interrupted\n")
        status, told = run_check(self.site)
        self.assertEqual(status, 0)
        self.assertIn(f"warning: {realm}: no users\n", told)
        realm.write_text("alice: xx\nbob:\n")
        status, told = run_check(self.site)
        self.assertEqual(status, 1)
        self.assertTrue(told.startswith(f"{realm}:2: user 'bob' has no password"), told)

    def test_the_columns_are_aligned(self) -> None:
        self.site.write_text(SITE + MORE)
        table = run_check(self.site, kinds=KINDS_HERE)[1].splitlines()[2:]
        starts = [line.index(word) for line, word in zip(table, ("IDENTITY", "-"), strict=False)]
        self.assertEqual(len(set(starts)), 1)

    def test_a_faulty_file_prints_every_problem_on_a_line(self) -> None:
        status, lines = self.check(SITE.replace("tls = yes", "tls = yse").replace("upstream = app", "upstream = ap"))
        self.assertEqual(
            (status, lines),
            (
                1,
                [
                    "site.ini:4: [listener https] tls: expected yes or no, not 'yse', did you mean yes?",
                    "site.ini:15: [route app] upstream: there is no [upstream ap], did you mean app?",
                ],
            ),
        )

    def test_without_security_the_table_says_so(self) -> None:
        _, lines = self.check(f"{SITE}[perimeter]\nenabled = no\n")
        self.assertIn("SECURITY IS OFF", lines[0])
        self.assertEqual(lines[-1].split()[-3:], ["off", "-", "headers"])

    def test_a_file_without_routes(self) -> None:
        status, lines = self.check("[listener a]\nport = 0\ninterface = 127.0.0.1\n[audit]\npath = a\n")
        self.assertEqual((status, lines), (0, ["There are no routes."]))

    def test_nothing_is_made(self) -> None:
        before = sorted(self.directory.parent.rglob("*"))
        self.check(SITE)
        self.assertEqual(sorted(self.directory.parent.rglob("*")), sorted({*before, self.site}))


class CommandTests(SiteCase):
    def test_the_command_exits_with_the_status(self) -> None:
        good = CliRunner().invoke(main, ["check", str(ROOT / "etc" / "site.ini")])
        self.assertEqual(good.exit_code, 0, good.output)
        self.assertIn("sample (sample:)", good.output)
        bad = CliRunner().invoke(main, ["check", str(self.directory / "none.ini")])
        self.assertEqual(bad.exit_code, 1)
        self.assertIn("none.ini: cannot be read: No such file or directory", bad.output)


class ReferenceTests(TestCase):
    def test_the_page_is_that_of_the_schema(self) -> None:
        made = own_page()
        kept = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
        self.assertEqual(made, kept, "run: python -m perimeter.cli.reference docs/reference/configuration.md")

    def test_every_option_has_its_words(self) -> None:
        for kind in KINDS:
            self.assertTrue(kind.doc, kind.word)
            self.assertEqual([option.name for option in kind.declared if not option.doc], [])
            self.assertTrue(kind.example, kind.word)


class ExampleTests(SiteCase):
    def test_the_examples_of_the_page_are_one_valid_site(self) -> None:
        for name in ("gw.crt", "gw.key", "users.realm", "logo.svg", "corp.secret"):
            (self.directory / name).write_text("secret" if name == "corp.secret" else "")
        parts = [example(kind).removeprefix("```ini\n").removesuffix("```\n") for kind in KINDS]
        static = f"path = /50x.html\nstatic = {self.directory / 'html'}\nbrowser_login = yes\n"
        pages = f"[route pages]\n{static}[listener m]\nport = 1\nserve = metrics\n"
        ordered = "[listener ordered]\nport = 2\ntls = yes\nacme_names = gw.example.com\n"
        ordered += "[listener plain]\nport = 80\nserve = redirect\nredirect_to = 2\n"
        self.site.write_text("\n".join([*parts, pages, ordered]))
        config = load_site(self.site, environ={}, kinds=installed_kinds())
        self.assertEqual(len(parts), len(KINDS))
        self.assertEqual(config.warnings, ())
