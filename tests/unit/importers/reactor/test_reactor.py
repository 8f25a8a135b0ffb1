"""Reactor's site and log: how each directive is translated, and that none is lost or opens a route."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.importers import logback
from perimeter.importers.draft import Draft, ImportFault
from perimeter.importers.reactor import source as reactor
from perimeter.importers.xml_tree import read as read_xml
from tests.unit.doubles.drafts import DATA, left, options, site_xml


class ReactorTests(TestCase):
    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = Draft()
        reactor.convert((DATA / "continuuity-site.xml").read_text(), "site.xml", draft)
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "perimeter"), {"enabled": "yes"})
        self.assertEqual(
            options(draft, "listener tokens-tls"),
            {
                "port": "10010",
                "serve": "tokens",
                "tls": "yes",
                "keystore": "/home/john/keystore.jks",
                "keystore_password": "file:keystore.password",
            },
        )
        self.assertEqual(draft.files, {"keystore.password": "password"})
        self.assertEqual(
            options(draft, "authenticator directory"),
            {
                "type": "ldap",
                "debug": "yes",
                "hostname": "example.com",
                "port": "389",
                "user_base_dn": "ou=people,dc=example",
                "user_rdn_attribute": "cn",
                "user_object_class": "inetorgperson",
                "tls": "none",
            },
        )

    def test_a_realm_file_and_the_tokens_lives(self) -> None:
        draft = site_xml(
            **{
                "security.authentication.handlerClassName": "com.continuuity.security.server.BasicAuthenticationHandler",
                "security.authentication.basic.realmfile": "/etc/realm",
                "security.realm": "acme",
                "security.auth.server.address": "gw.example.com",
                "security.server.token.expiration.ms": "1500",
                "security.server.extended.token.expiration.ms": "604800000",
                "router.forward.rule": "10000:gateway",
                "zookeeper.quorum": "z:2181",
            }
        )
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "authenticator basic"), {"type": "realmfile", "path": "/etc/realm", "realm": "acme"})
        self.assertEqual(options(draft, "perimeter"), {"realm": "acme", "announce": "http://gw.example.com:10009/token"})
        self.assertEqual(options(draft, "token"), {"lifetime": "1500ms", "extended_lifetime": "604800s"})
        self.assertEqual(options(draft, "listener router"), {"port": "10000"})
        self.assertTrue(any("zookeeper.quorum" in remark.text for remark in draft.remarks))

    def test_roles_have_jettys_default_attribute(self) -> None:
        handler = "com.continuuity.security.server.LDAPAuthenticationHandler"
        base = "security.authentication.handler."
        found = {
            "security.authentication.handlerClassName": handler,
            base + "roleBaseDn": "ou=groups",
            base + "useLdaps": "true",
            base + "bindPassword": "hush hush",
            base + "ldapsVerifyCertificate": "false",
        }
        draft = site_xml(**found)
        section = options(draft, "authenticator directory")
        self.assertEqual((section["role_name_attribute"], section["tls"]), ("roleName", "ldaps"))
        self.assertEqual((section["bind_password"], draft.files), ("file:ldap.password", {"ldap.password": "hush hush"}))
        self.assertEqual(len(draft.remainder), 1)

    def test_what_has_no_counterpart_is_left_with_its_line_and_stays_closed(self) -> None:
        draft = site_xml(
            **{
                "security.enabled": "true",
                "security.authentication.handlerClassName": "com.continuuity.security.server.JASPIAuthenticationHandler",
                "security.authentication.loginmodule.className": "com.acme.Module",
                "security.novelty": "x",
                "router.bypass.auth.regex": "/open/.*",
                "security.realm": "${name}",
            }
        )
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["6", "3", "5", "4"])
        self.assertEqual(options(draft, "authenticator users"), {"type": "realmfile", "path": "users.realm"})
        self.assertEqual(draft.realms, {"users.realm": []})
        self.assertNotIn("auth", options(draft, "route reactor"))

    def test_attack_document_types_and_entities_are_refused(self) -> None:
        for text in (
            '<!DOCTYPE a [<!ENTITY b "c">]><property>&b;</property>',
            '<?xml version="1.0"?>\n<!DOCTYPE configuration SYSTEM "file:///etc/passwd"><configuration/>',
            "<property>&b;</property>",
            "</excerpt><excerpt>",
        ):
            with self.assertRaises(ImportFault):
                read_xml(text, "f")
        with self.assertRaisesRegex(ImportFault, "levels deep"):
            read_xml("<a>" * 1000, "f")

    def test_lines_are_those_of_the_file(self) -> None:
        text = '<?xml version="1.0"?>\n<configuration>\n  <property>\n    <name>a</name>\n  </property>\n</configuration>\n'
        (element,) = read_xml(text, "f")
        self.assertEqual((element.line, element.children[0].line), (3, 4))


class LogbackTests(TestCase):
    def convert(self, text: str) -> Draft:
        draft = Draft()
        logback.convert(text, "logback.xml", draft)
        return draft

    def test_the_manuals_example_leaves_nothing(self) -> None:
        draft = self.convert((DATA / "logback.xml").read_text())
        self.assertEqual(draft.remainder, [])
        self.assertEqual(options(draft, "audit"), {"path": "access.log", "format": "reactor", "roll": "daily", "keep": "30"})

    def test_what_rolls_otherwise_is_left(self) -> None:
        text = (DATA / "logback.xml").read_text()
        draft = self.convert(text.replace("%d{yyyy-MM-dd}", "%d{yyyy-ww}.gz").replace("%msg%n", "%d %msg%n"))
        self.assertEqual([line.split(":")[0] for line in left(draft)], ["4", "7"])

    def test_other_loggers_are_named(self) -> None:
        draft = self.convert((DATA / "logback.xml").read_text() + '<logger name="org.apache" level="WARN"/>')
        self.assertEqual(draft.remainder, [])
        self.assertEqual([remark.text for remark in draft.remarks], ["<logger org.apache>: not of the audit log"])

    def test_a_file_without_an_audit_log(self) -> None:
        self.assertEqual(len(self.convert('<logger name="x"/>').remainder), 1)


class NeverLessClosedTests(TestCase):
    """Attack 48, an import that opens a door."""

    def test_attack_48_tls_of_later_versions_stays_tls(self) -> None:
        for name in ("ssl.external.enabled", "ssl.enabled"):
            draft = Draft()
            site = f"<property><name>{name}</name><value>true</value></property>"
            secrets = "".join(
                f"<property><name>{prefix}.{last}</name><value>{value}</value></property>"
                for prefix, value in (("router.ssl.keystore", "r"), ("security.auth.server.ssl.keystore", "t"))
                for last in ("path", "password")
            )
            reactor.convert_all([(site, "cdap-site.xml"), (secrets, "cdap-security.xml")], draft)
            listeners = {header: options(draft, header) for header in draft.sections if header.startswith("listener")}
            self.assertEqual(sorted(listeners), ["listener router", "listener tokens-tls"], name)
            self.assertEqual([one["tls"] for one in listeners.values()], ["yes", "yes"])
            self.assertEqual((listeners["listener router"]["keystore"], listeners["listener router"]["port"]), ("r", "10443"))
            self.assertEqual(
                (listeners["listener tokens-tls"]["keystore"], listeners["listener tokens-tls"]["port"]), ("t", "10010")
            )
            self.assertEqual(sorted(draft.files.values()), ["r", "t"])
            self.assertEqual([header for header in draft.sections if header.startswith("authenticator")], ["authenticator users"])
            self.assertEqual(draft.remainder, [])

    def test_attack_48_what_is_not_plainly_false_is_taken_for_true(self) -> None:
        for value in ("${secure}", "TRUE", "yes", ""):
            draft = site_xml(**{"security.enabled": value, "security.server.ssl.enabled": value})
            self.assertEqual(options(draft, "perimeter")["enabled"], "yes", value)
            self.assertEqual(options(draft, "listener router")["tls"], "yes", value)
        draft = site_xml(**{"security.enabled": "false", "security.server.ssl.enabled": "False"})
        self.assertEqual(options(draft, "perimeter")["enabled"], "no")
        self.assertNotIn("tls", options(draft, "listener router"))

    def test_attack_48_an_address_stays_the_only_one(self) -> None:
        draft = site_xml(
            **{"security.auth.server.bind.address": "127.0.0.1", "router.bind.address": "::1", "router.bind.port": "11015"}
        )
        self.assertEqual(options(draft, "listener tokens")["interface"], "127.0.0.1")
        self.assertEqual(
            (options(draft, "listener router")["interface"], options(draft, "listener router")["port"]), ("::1", "11015")
        )
        draft = site_xml(**{"router.bind.address": "gw.example.com", "security.auth.server.bind.address": "localhost"})
        self.assertEqual(options(draft, "listener router")["interface"], "127.0.0.1")
        self.assertEqual(options(draft, "listener tokens")["interface"], "127.0.0.1")
        self.assertEqual(len(draft.remainder), 1)
