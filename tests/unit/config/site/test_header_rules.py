"""The options of a route about headers: rules, the host and the credentials of the service, and what contradicts each other."""

from __future__ import annotations

from perimeter.config.language.placeholders import literal, template
from perimeter.config.site.header_rule import HeaderRule, Verb
from perimeter.config.site.route import RouteSettings
from perimeter.errors import ConfigError
from tests.unit.doubles.site import SiteCase

SITE = """\
[listener plain]
port = 8080
interface = 127.0.0.1
[upstream app]
servers = {servers}
[audit]
path = access.log
[route app]
path = /
auth = none
{options}
"""


class HeaderOptionTests(SiteCase):
    def loaded(self, options: str, servers: str = "http://127.0.0.1:8081", target: str = "upstream = app") -> RouteSettings:
        (self.directory / "key").write_text("s3cr%{user}t\n")
        (self.directory / "pair").write_text("alice:open sesame\n")
        (route,) = self.load(SITE.format(servers=servers, options=f"{target}\n{options}")).routes
        return route

    def faults(self, options: str, **site: str) -> list[tuple[str, str, str]]:
        error = self.assertRaises(ConfigError, self.loaded, options, **site)
        return [(one.option, one.message, one.suggestion) for one in error.problems]

    def test_rules_one_a_line(self) -> None:
        route = self.loaded(
            "request_headers = set X-A a, b;c\n   add X-B  %{request_id}\n\n   remove X_C\n"
            "response_headers =\n   set X-User %{user}\n   add Set-Cookie a=b; Path=/\n   add Set-Cookie c=d"
        )
        self.assertEqual(
            route.request_headers,
            (
                HeaderRule(Verb.SET, "X-A", literal("a, b;c")),
                HeaderRule(Verb.ADD, "X-B", template("%{request_id}")),
                HeaderRule(Verb.REMOVE, "X_C"),
            ),
        )
        self.assertEqual(
            list(map(str, route.response_headers)), ["set X-User %{user}", "add Set-Cookie a=b; Path=/", "add Set-Cookie c=d"]
        )
        self.assertEqual(
            route.headers_in_words,
            "request headers: set X-A, add X-B, remove X_C; response headers: set X-User, add Set-Cookie, add Set-Cookie",
        )

    def test_a_value_by_reference_is_literal_and_not_shown(self) -> None:
        route = self.loaded("request_headers = set X-Key file:key")
        (rule,) = route.request_headers
        self.assertEqual(rule, HeaderRule(Verb.SET, "X-Key", literal("s3cr%{user}t"), secret=True))
        self.assertEqual(str(rule), "set X-Key (secret)")
        self.assertNotIn("s3cr", repr(route))
        self.assertEqual(
            self.faults("request_headers = set X-Key file:nothing"),
            [("request_headers", "file:nothing cannot be read: No such file or directory", "")],
        )

    def test_refused_rules(self) -> None:
        forms = "expected set NAME VALUE, add NAME VALUE or remove NAME"
        for rule, message, suggestion in (
            ("X-A: b", f"{forms}, not 'X-A: …'", "set X-A b"),
            ("sets X-A b", f"{forms}, not 'sets X-A b'", "set X-A b"),
            ("set", "expected the name of a header, of letters, digits and single hyphens, not 'set'", ""),
            ("set X-A", "expected a value after X-A, not 'set X-A'", "remove X-A"),
            ("add X-A", "expected a value after X-A, not 'add X-A'", ""),
            ("set X-A: b", "expected the name of a header, of letters, digits and single hyphens, not 'set X-A: …'", "set X-A b"),
            ("remove X-A b", "expected a name alone after remove, not 'remove X-A b'", "remove X-A"),
            ("set X-A ä", "expected ASCII characters in the value of a header, without control characters, not 'set X-A ä'", ""),
        ):
            self.assertEqual(self.faults(f"request_headers = {rule}"), [("request_headers", message, suggestion)], rule)

    def test_attack_110_rules_touch_no_framing_and_no_identity(self) -> None:
        for verb in ("set {} x", "add {} x", "remove {}"):
            for name in (
                *("Host", "Content-Length", "Content_Length", "transfer-encoding", "Connection", "Upgrade", "TE", "Trailer"),
                *("Expect", "Keep-Alive", "Proxy-Connection", "HTTP2-Settings", "Authorization", "Proxy-Authorization"),
                *("X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded"),
                *("X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Request-ID", "X-Perimeter-Hops"),
                *("Content-Encoding", "Content-Range", "traceparent"),
            ):
                rule = verb.format(name)
                ((option, message, _),) = self.faults(f"request_headers = {rule}")
                self.assertEqual((option, message.partition(" ")[0]), ("request_headers", name), rule)
            for name in ("X-Auth-Username", "X_Auth_Roles", "x-auth-realm"):
                for option in ("request_headers", "response_headers"):
                    found = self.faults(f"{option} = {verb.format(name)}")
                    self.assertEqual(found, [(option, f"{name} is an identity header of the route: see identity", "")])
            for name in ("Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Date", "Content-Encoding"):
                ((option, _, _),) = self.faults(f"response_headers = {verb.format(name)}")
                self.assertEqual(option, "response_headers")
        self.assertEqual(self.faults("request_headers = set Host x"), [("request_headers", "Host is set with upstream_host", "")])
        # what another header says may carry the user, if it is not one of the route's own
        self.assertEqual(len(self.loaded("identity = none\nrequest_headers = set X-Auth-Username %{user}").request_headers), 1)
        self.assertEqual(
            self.faults("response_headers = add Set-Cookie __Host-Perimeter=x")[0][1].partition(",")[0],
            "expected another name: a cookie of this one belongs to the gateway",
        )

    def test_attack_111_the_user_is_never_added_beside_what_a_client_sent(self) -> None:
        for word in ("user", "realm", "roles", "attribute:mail"):
            self.assertEqual(
                self.faults(f"request_headers = add X-A %{{{word}}}"),
                [
                    (
                        "request_headers",
                        "expected set for X-A: with add, the service would also get what the client sends in it",
                        "",
                    )
                ],
            )
            self.loaded(f"response_headers = add X-A %{{{word}}}")
        self.loaded("request_headers = add X-A %{address}")

    def test_contradictions(self) -> None:
        for rules, message in (
            ("set X-A a\n  remove x_a", "expected one rule for x_a: there are set and remove"),
            ("add X-A a\n  set X-A b", "expected one rule for X-A: there are add and set"),
            ("set X-A a\n  set X-A b", "X-A has set twice"),
            ("remove X-A\n  remove X-A", "X-A has remove twice"),
        ):
            self.assertEqual(self.faults(f"request_headers = {rules}"), [("request_headers", message, "")], rules)
        self.loaded("request_headers = add X-A a\n  add X-A b")

    def test_cors_sets_its_own_headers(self) -> None:
        page = "cors = https://a.test\n"
        rule = "response_headers = set Access-Control-Allow-Origin *"
        message = "Access-Control-Allow-Origin is not allowed with cors, which sets it"
        self.assertEqual(self.faults(f"{page}{rule}"), [("response_headers", message, "")])
        self.loaded(rule)

    def test_only_services_get_requests(self) -> None:
        message = "is only allowed with upstream"
        for option in ("request_headers = set X-A a", "upstream_host = x.test", "upstream_authorization = bearer x"):
            self.assertEqual(self.faults(option, target="static = ."), [(option.partition(" ")[0], message, "")])
        self.loaded("response_headers = set X-A a\nsecurity_headers = strict", target="static = .")

    def test_upstream_host(self) -> None:
        for text, value in (
            ("as-sent", "as-sent"),
            ("upstream", "upstream"),
            ("App.internal", "app.internal"),
            ("app.internal:8080", "app.internal:8080"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]:80"),
            ("localhost", "localhost"),
        ):
            self.assertEqual(self.loaded(f"upstream_host = {text}").upstream_host, value, text)
        for text, suggestion in (("sent", "as-sent"), ("upstreams", "upstream"), ("a:0", ""), ("a:65536", ""), ("a b", "")):
            ((option, _, found),) = self.faults(f"upstream_host = {text}")
            self.assertEqual((option, found), ("upstream_host", suggestion), text)

    def test_the_host_of_an_upstream(self) -> None:
        message = "the servers of the upstream have several hosts, or none: write the one that is meant"
        for servers in ("http://a.test, http://b.test", "http://a.test:1, http://a.test:2", "sample:"):
            self.assertEqual(self.faults("upstream_host = upstream", servers=servers), [("upstream_host", message, "")])
        self.loaded("upstream_host = upstream", servers="https://a.test, https://b.test\nserver_name = c.test")

    def test_upstream_authorization(self) -> None:
        basic = "Basic YWxpY2U6b3BlbiBzZXNhbWU="
        for text, value in (
            ("basic file:pair", basic),
            ("basic alice open sesame", basic),
            ("bearer abc", "Bearer abc"),
            ("fixed ApiKey abc", "ApiKey abc"),
        ):
            route = self.loaded(f"upstream_authorization = {text}")
            self.assertEqual(route.sends_authorization.value, value, text)
            self.assertNotIn(value, repr(route))
        self.assertEqual(self.loaded("authorization = basic file:pair").sends_authorization.value, basic)
        self.assertEqual(self.loaded("").sends_authorization.word, "drop")
        expected = "expected basic USER SECRET, bearer SECRET or fixed VALUE"
        for text in ("drop", "pass", "basic", "basic alice", "basic alice:x", "basic :x", "bearer"):
            self.assertEqual(self.faults(f"upstream_authorization = {text}"), [("upstream_authorization", expected, "")], text)
        (found,) = self.faults("upstream_authorization = basic file:key")
        self.assertEqual(found[0], "upstream_authorization")
        self.assertTrue(found[1].endswith("not the value of file:key"), found)
        (self.directory / "lines").write_text("alice:a\nb")
        (found,) = self.faults("upstream_authorization = basic file:lines")
        self.assertTrue(found[1].endswith("not the value of file:lines"), found)

    def test_one_option_says_what_the_service_gets(self) -> None:
        both = "is not allowed with authorization, which says what the service gets"
        for other in ("pass", "bearer y", "basic a b"):
            found = self.faults(f"upstream_authorization = bearer x\nauthorization = {other}")
            self.assertEqual(found, [("upstream_authorization", both, "")])
        self.loaded("upstream_authorization = bearer x\nauthorization = drop")
        self.assertEqual(
            self.faults("upstream_authorization = bearer x\nidentity = jwt"),
            [("upstream_authorization", "is not allowed with identity = jwt, which needs Authorization", "")],
        )
