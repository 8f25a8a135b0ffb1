"""The options of a route about bodies."""

from __future__ import annotations

from perimeter.config.site.route import RouteSettings
from perimeter.config.site.rule import Rule
from perimeter.errors import ConfigError
from tests.unit.doubles.site import SITE, SiteCase

WHOLE = "audit_body = json:/a/b, json:/c\nread_only = role:viewer, user:bob\nread_only_commands = Ping, Get:1"


class BodyOptionTests(SiteCase):
    def loaded(self, options: str) -> RouteSettings:
        (route,) = self.load(SITE.replace("path = /\n", f"path = /\n{options}\n")).routes
        return route

    def faults(self, options: str) -> list[tuple[str, str, str]]:
        error = self.assertRaises(ConfigError, self.loaded, options)
        return [(one.option, one.message, one.suggestion) for one in error.problems]

    def test_all_three(self) -> None:
        route = self.loaded(WHOLE)
        self.assertEqual(route.audit_body, (("a", "b"), ("c",)))
        self.assertEqual(route.read_only, (Rule("role", "viewer"), Rule("user", "bob")))
        self.assertEqual(route.read_only_commands, ("Ping", "Get:1"))
        self.assertFalse(route.by_method)
        self.assertTrue(self.loaded(WHOLE.replace("user:bob", "method:POST")).by_method)

    def test_a_member_is_a_json_pointer(self) -> None:
        expected = "expected json: and a JSON Pointer (RFC 6901), such as json:/command/name, not "
        for text, suggestion in (
            ("/command/name", "json:/command/name"),
            ("json:command.name", "json:/command/name"),
            ("json:$.command.name", "json:/command/name"),
            ("command", "json:/command"),
            ("json:", ""),
            ("json:/a~2", ""),
            ("xml:/a", ""),
        ):
            ((option, message, found),) = self.faults(f"audit_body = {text}")
            self.assertEqual((option, message[: len(expected)], found), ("audit_body", expected, suggestion), text)
        self.assertEqual(self.loaded("audit_body = json:/").audit_body, (("",),))
        self.assertEqual(self.loaded("audit_body = json:/a~1b/~0").audit_body, (("a/b", "~"),))

    def test_contradictions(self) -> None:
        for without, faults in (
            ("audit_body", [("read_only", "also needs audit_body", "")]),
            ("read_only", [("read_only_commands", "also needs read_only", "")]),
            ("read_only_commands", [("read_only", "also needs read_only_commands", "")]),
        ):
            lines = [line for line in WHOLE.splitlines() if not line.startswith(f"{without} ")]
            self.assertEqual(self.faults("\n".join(lines)), faults)
        parts = "'Get:1' has more parts than audit_body has members"
        self.assertEqual(self.faults(WHOLE.replace(", json:/c", "")), [("read_only_commands", parts, "")])
        self.assertEqual(self.loaded(WHOLE.replace("Get:1", "Get")).read_only_commands, ("Ping", "Get"))

    def test_attack_114_a_client_without_credentials_is_not_read_only(self) -> None:
        message = "needs auth = required: a client without credentials would not be restricted"
        for auth in ("optional", "none"):
            self.assertEqual(self.faults(f"{WHOLE}\nauth = {auth}"), [("read_only", message, "")])
            self.loaded(f"audit_body = json:/a\nauth = {auth}")

    def test_a_realm_that_does_not_exist(self) -> None:
        ((option, _, suggestion),) = self.faults(WHOLE.replace("user:bob", "realm:lokal"))
        self.assertEqual((option, suggestion), ("read_only", "realm:local"))
