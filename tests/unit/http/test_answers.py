"""The responses to refused clients: bodies, challenges, pages, and which of them is chosen."""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import (
    BadRequest,
    Challenges,
    CredentialsTooLarge,
    ExpiredToken,
    InsufficientScope,
    InvalidCredentialsRequest,
    InvalidToken,
    Maintenance,
    MethodNotAllowed,
    MissingCredentials,
    NoRoute,
    Page,
    Refusal,
    Rejected,
    RouteMaintenance,
    Unavailable,
    UpstreamUnreachable,
)
from perimeter.http.answers import Answers, prefers_html, prefers_json, quoted
from perimeter.http.grammar import parse_block
from tests.unit.doubles.http_rig import Client, Holding, Response, Site, error_page

BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


class AnswersTests(unittest.TestCase):
    def answered(
        self,
        refusal: Refusal,
        *lines: str,
        realm: str = "R",
        pages: dict[int, Page] | None = None,
        challenges: Challenges = Challenges.BEARER,
        further: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        target = Holding()
        clock = Clock()
        clock.advance(1_000_000_000)
        site = Site(target, clock)
        site.answers = Answers(realm, ("https://gw/token", "https://gw2/token"), error_page, pages or {}, clock.seconds, further)
        client = Client(site)
        client.get("/", *lines)
        refusal.stranger = challenges
        target.exchanges[0].refuse(refusal)
        return client.response()

    def test_missing_token_has_auth_uri_only(self) -> None:
        response = self.answered(MissingCredentials())
        self.assertEqual(response.status, 401)
        self.assertEqual(json.loads(response.body), {"auth_uri": ["https://gw/token", "https://gw2/token"]})
        self.assertEqual(response.get(b"www-authenticate"), b'Bearer realm="R"')
        self.assertEqual(response.get(b"cache-control"), b"no-store")
        self.assertEqual(response.get(b"content-type"), b"application/json;charset=UTF-8")
        self.assertEqual(response.get(b"date"), b"Sun, 09 Sep 2001 01:46:40 GMT")

    def test_credentials_that_are_too_large_are_not_called_malformed(self) -> None:
        response = self.answered(CredentialsTooLarge())
        self.assertEqual((response.status, response.get(b"www-authenticate")), (431, None))
        self.assertEqual(json.loads(response.body)["error"], "credentials_too_large")

    def test_bearer_errors(self) -> None:
        for refusal, status, error in (
            (InvalidToken(), 401, "invalid_token"),
            (ExpiredToken(), 401, "invalid_token"),
            (InvalidCredentialsRequest(), 400, "invalid_request"),
            (InsufficientScope(), 403, "insufficient_scope"),
        ):
            response = self.answered(refusal)
            self.assertEqual(response.status, status)
            description = refusal.phrase
            expected = f'Bearer realm="R", error="{error}", error_description="{description}"'
            self.assertEqual(response.get(b"www-authenticate"), expected.encode())
            fields = json.loads(response.body)
            self.assertEqual((fields["error"], fields["error_description"]), (error, description))
            self.assertEqual("auth_uri" in fields, status == 401)
        self.assertIn(b"The access token expired", self.answered(ExpiredToken()).body)

    def challenged(
        self, refusal: Refusal, challenges: Challenges, *further: tuple[str, str], one_line: bool = False
    ) -> list[bytes]:
        """The values of WWW-Authenticate."""
        refusal.one_line = one_line
        response = self.answered(refusal, challenges=challenges, further=further)
        return [value for name, value in response.fields if name == b"www-authenticate"]

    def test_challenges_of_passwords_alone(self) -> None:
        own, gateway = b'Bearer realm="R"', b'Basic realm="R", charset="UTF-8"'
        each = b'Basic realm="local", charset="UTF-8", Basic realm="corp", charset="UTF-8"'
        further = (("basic", "local"), ("basic", "corp"))
        for refusal in (MissingCredentials, Rejected):
            for challenges, expected, in_one in (
                (Challenges.BEARER, [own], [own]),
                (Challenges.BASIC, [gateway], [each]),
                (Challenges.BOTH, [own, gateway], [own + b", " + each]),
                (Challenges.FIRST_HAND, [gateway], [gateway]),
            ):
                self.assertEqual(self.challenged(refusal(), challenges, *further), expected, challenges)
                self.assertEqual(self.challenged(refusal(), challenges, *further, one_line=True), in_one, challenges)

    def test_challenges_where_authenticators_take_tokens_too(self) -> None:
        own, local, corp = (
            b'Bearer realm="R"',
            b'Basic realm="local", charset="UTF-8"',
            b'Basic realm="corp", charset="UTF-8"',
        )
        weather = b'Bearer realm="weather"'
        further = (("basic", "local"), ("bearer", "weather"), ("bearer", "R"), ("basic", "corp"))
        for refusal in (MissingCredentials, Rejected):
            for challenges, expected in (
                (Challenges.BEARER, [own, weather]),
                (Challenges.BASIC, [local, corp]),
                (Challenges.BOTH, [own, local, weather, corp]),
                (Challenges.FIRST_HAND, [local, weather, corp]),
            ):
                self.assertEqual(self.challenged(refusal(), challenges, *further), expected, challenges)
                in_one = self.challenged(refusal(), challenges, *further, one_line=True)
                self.assertEqual(in_one, [b", ".join(expected)], challenges)

    def test_challenges_where_no_authenticator_takes_passwords(self) -> None:
        own, gateway, weather = b'Bearer realm="R"', b'Basic realm="R", charset="UTF-8"', b'Bearer realm="weather"'
        for further, challenges, expected in (
            ((), Challenges.BEARER, [own]),
            ((), Challenges.BASIC, [gateway]),
            ((), Challenges.BOTH, [own, gateway]),
            ((), Challenges.FIRST_HAND, [gateway]),
            ((("bearer", "weather"),), Challenges.BEARER, [own, weather]),
            ((("bearer", "weather"),), Challenges.BASIC, [gateway]),
            ((("bearer", "weather"),), Challenges.BOTH, [own, gateway, weather]),
            ((("bearer", "weather"),), Challenges.FIRST_HAND, [weather]),
        ):
            self.assertEqual(self.challenged(Rejected(), challenges, *further), expected, (further, challenges))
            in_one = self.challenged(Rejected(), challenges, *further, one_line=True)
            self.assertEqual(in_one, [b", ".join(expected)], (further, challenges))

    def test_challenges_for_kerberos_come_last(self) -> None:
        own, gateway, weather = b'Bearer realm="R"', b'Basic realm="R", charset="UTF-8"', b'Bearer realm="weather"'
        people = b'Basic realm="people", charset="UTF-8"'
        alone = (("negotiate", "people"), ("negotiate", "others"))
        beside = (("negotiate", "people"), ("basic", "people"))
        tokens = (("negotiate", "people"), ("bearer", "weather"))
        for further, challenges, expected in (
            (alone, Challenges.BEARER, [own]),
            (alone, Challenges.BASIC, [gateway]),
            (alone, Challenges.BOTH, [own, b"Negotiate"]),
            (alone, Challenges.FIRST_HAND, [b"Negotiate"]),
            (beside, Challenges.BEARER, [own]),
            (beside, Challenges.BOTH, [own, gateway, b"Negotiate"]),
            (beside, Challenges.FIRST_HAND, [gateway, b"Negotiate"]),
            (tokens, Challenges.BOTH, [own, weather, b"Negotiate"]),
            (tokens, Challenges.FIRST_HAND, [weather, b"Negotiate"]),
            ((*tokens, ("basic", "people")), Challenges.BOTH, [own, weather, people, b"Negotiate"]),
        ):
            self.assertEqual(self.challenged(Rejected(), challenges, *further), expected, (further, challenges))
        in_one = self.challenged(Rejected(), Challenges.BOTH, *beside, one_line=True)
        self.assertEqual(in_one, [b", ".join((own, people, b"Negotiate"))])
        self.assertEqual(self.challenged(Rejected(), Challenges.BOTH, *alone, one_line=True), [own + b", Negotiate"])

    def test_a_challenge_for_bearer_alone_never_asks_for_a_password(self) -> None:
        """A browser would open its own dialog, for a script's request too."""
        refusals = (MissingCredentials, Rejected, InvalidToken, ExpiredToken, InvalidCredentialsRequest, InsufficientScope)
        for refusal in refusals:
            for one_line in (False, True):
                values = self.challenged(refusal(), Challenges.BEARER, ("basic", "a"), ("bearer", "b"), one_line=one_line)
                self.assertEqual([value for value in values if b"Basic" in value], [], refusal)
                self.assertTrue(values[0].startswith(b'Bearer realm="R"'), refusal)

    def test_only_a_401_asks_for_other_credentials(self) -> None:
        for refusal, error in ((InsufficientScope, b"insufficient_scope"), (InvalidCredentialsRequest, b"invalid_request")):
            for challenges in (Challenges.BEARER, Challenges.BOTH):
                (value,) = self.challenged(refusal(), challenges, ("basic", "a"), ("bearer", "b"))
                self.assertIn(b'error="%b"' % error, value)
            for challenges in (Challenges.BASIC, Challenges.FIRST_HAND):
                self.assertEqual(self.challenged(refusal(), challenges, ("basic", "a"), ("bearer", "b")), [])

    def test_answers_with_and_without_one_line_are_remembered_apart(self) -> None:
        target = Holding()
        site = Site(target, Clock())
        site.answers = Answers("R", (), error_page, {}, Clock().seconds, (("basic", "a"),))
        counts = []
        for one_line in (False, True, False):
            client = Client(site)
            client.get("/")
            refusal = MissingCredentials()
            refusal.stranger, refusal.one_line = Challenges.BOTH, one_line
            target.exchanges[-1].refuse(refusal)
            counts.append([name for name, _ in client.response().fields].count(b"www-authenticate"))
        self.assertEqual(counts, [2, 1, 2])

    def test_no_challenge_without_need(self) -> None:
        for refusal in (NoRoute(), UpstreamUnreachable(), BadRequest(), Unavailable(), Maintenance()):
            self.assertIsNone(self.answered(refusal).get(b"www-authenticate"), refusal)

    def test_attack_42_realm_is_quoted(self) -> None:
        self.assertEqual(quoted('a"b\\c\r\nX: é'), 'a\\"b\\\\c??X: ?')
        response = self.answered(MissingCredentials(), realm='x", error="none')
        self.assertEqual(response.get(b"www-authenticate"), b'Bearer realm="x\\", error=\\"none"')

    def test_attack_16_detail_is_for_the_operator_only(self) -> None:
        for accept in ("Accept: */*", BROWSER):
            response = self.answered(UpstreamUnreachable("at 10.1.2.3: connection refused"), accept)
            self.assertNotIn(b"10.1.2.3", response.body)
            for _, value in response.fields:
                self.assertNotIn(b"10.1.2.3", value)

    def test_attack_26_nothing_of_the_request_is_shown(self) -> None:
        target = Holding()
        client = Client(Site(target))
        client.get("/%3Csvg%3E?rd=%22><svg", BROWSER, "X-Auth-Realm: <svg>")
        target.exchanges[0].refuse(NoRoute())
        self.assertNotIn(b"svg", client.transport.written)

    def test_retry_after_and_allow(self) -> None:
        self.assertEqual(self.answered(Unavailable()).get(b"retry-after"), b"5")
        self.assertIsNone(self.answered(NoRoute()).get(b"retry-after"))
        self.assertEqual(self.answered(MethodNotAllowed(allow=("GET", "HEAD"))).get(b"allow"), b"GET, HEAD")

    def test_html_for_a_browser(self) -> None:
        response = self.answered(NoRoute(), BROWSER)
        self.assertEqual(response.get(b"content-type"), b"text/html; charset=utf-8")
        self.assertIn(b"<h1>404", response.body)
        self.assertEqual(self.answered(MissingCredentials(), BROWSER).get(b"www-authenticate"), b'Bearer realm="R"')

    def test_kept_answers_are_not_mixed_up(self) -> None:
        target = Holding()
        client = Client(Site(target))
        for line in ("Accept: */*", BROWSER, "Accept: */*"):
            client.get("/", line)
            target.exchanges[-1].refuse(NoRoute())
        self.assertEqual([response.body[:1] for response in client.responses()], [b"{", b"<", b"{"])

    def test_maintenance_is_json_for_all_clients(self) -> None:
        for pages in ({}, {503: Page(b"Content-Type: text/html\r\n", b"<p>down")}):
            response = self.answered(Maintenance(), BROWSER, pages=pages)
            self.assertEqual(response.status, 503)
            self.assertEqual(json.loads(response.body)["error"], "maintenance")

    def test_maintenance_of_a_route_has_a_page(self) -> None:
        own = Page(b"Content-Type: text/html\r\nX: own\r\n", b"<p>own")
        pages = {503: Page(b"Content-Type: text/html\r\n", b"<p>down")}
        for refusal, expected in ((RouteMaintenance(page=own), b"<p>own"), (RouteMaintenance(), b"<p>down")):
            for accept in (BROWSER, "Accept: */*"):
                self.assertEqual(self.answered(refusal, accept, pages=pages).body, expected)
            response = self.answered(refusal, "Accept: application/json", pages=pages)
            self.assertEqual(json.loads(response.body)["error"], "maintenance")
        response = self.answered(RouteMaintenance(page=own, retry_after=60), BROWSER)
        self.assertEqual((response.get(b"x"), response.get(b"retry-after")), (b"own", b"60"))
        self.assertIn(b"<h1>503", self.answered(RouteMaintenance(), BROWSER).body)

    def test_operators_page(self) -> None:
        pages = {401: Page(b"Content-Type: text/html\r\n", b"<p>mine"), 502: Page(b"Content-Type: text/html\r\n", b"<p>mine")}
        self.assertEqual(self.answered(UpstreamUnreachable(), pages=pages).body, b"<p>mine")
        self.assertEqual(self.answered(UpstreamUnreachable(), "Accept: application/json", pages=pages).body[:1], b"{")
        self.assertEqual(self.answered(NoRoute(), pages=pages).body[:1], b"{")
        # RFC 9110, section 11.6.1: a 401 with any page has a challenge.
        response = self.answered(MissingCredentials(), BROWSER, pages=pages)
        self.assertEqual((response.body, response.get(b"www-authenticate")), (b"<p>mine", b'Bearer realm="R"'))


class AcceptTests(unittest.TestCase):
    def test_attack_23_512_bytes_of_accept_are_read(self) -> None:
        for size, html in ((512, True), (513, False)):
            headers = parse_block(b"Accept: " + b"text/html,".ljust(size, b"x") + b"\r\n", 10)
            self.assertEqual((prefers_html(headers), prefers_json(headers)), (html, False))

    def test_several_accept_headers_are_one_list(self) -> None:
        headers = parse_block(b"Accept: application/json;q=0.4\r\nX: y\r\nAccept: text/html;q=0.5\r\n", 10)
        self.assertEqual((prefers_html(headers), prefers_json(headers)), (True, False))
        headers = parse_block(b"Accept: application/json\r\nAccept: text/html\r\n", 10)
        self.assertEqual((prefers_html(headers), prefers_json(headers)), (False, True))

    def test_preferences(self) -> None:
        for accept, html, for_json in (
            (None, False, False),
            ("*/*", False, False),
            ("text/html", True, False),
            ("application/json", False, True),
            ("application/json, text/html", False, True),
            ("application/json;q=0.5, text/html", True, False),
            ("TEXT/HTML ; Q=0.3, application/json;q=0.2", True, False),
            ("text/html;q=0", False, False),
            ("text/html;q=nonsense", False, False),
            ("text/html;q=nan", False, False),
            ("text/html;level=1;q=0.7,application/json;q=0.7", False, True),
            ("\xe9;;==,,", False, False),
            ("text/*", False, False),
        ):
            block = b"Host: gw\r\n" + (b"" if accept is None else b"Accept: " + accept.encode("latin-1") + b"\r\n")
            headers = parse_block(block, 10)
            self.assertEqual((prefers_html(headers), prefers_json(headers)), (html, for_json), accept)
