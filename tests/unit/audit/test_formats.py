"""The three formats: their exact lines, and that no input from a client can falsify a line."""

from __future__ import annotations

import json
import os
import re
import time

import attrs
from hypothesis import given
from twisted.trial import unittest

from perimeter.audit import formats
from perimeter.audit.escaping import MOST_PARTS, REDACTED, Redactor, escape, redact, shown_name
from perimeter.audit.formats import FORMATS, combined, line_format, reactor
from perimeter.audit.formats import json as json_format
from perimeter.audit.reading import parse_line
from perimeter.config.site.audit import AuditFormat
from perimeter.model import TOKEN_PREFIX, AccessRecord, Grant, GrantKind, Principal
from tests.unit.doubles.audit_records import make_headers, make_record, records

ALICE = Principal("alice", "local", ("admin", "ops"), "file")
ID = b"0af7651916cd43dd8448eb211c80319c"
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]")
COLUMNS = re.compile(rb'([^ ]+) ([^ ]+) \[([^\]]+)\] "(-|[^ "]+ [^ "]+ [^ "]+)" ([0-9]+) ([0-9]+)\n')
UNESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def unescaped(column: bytes) -> bytes:
    return UNESCAPE.sub(lambda match: bytes([int(match[1], 16)]), column)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class InZone(unittest.TestCase):
    """Tests in a fixed time zone."""

    def zone(self, name: str) -> None:
        before = os.environ.get("TZ")

        def restore() -> None:
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = name
        time.tzset()
        # the cached text of a second is of another test's time zone
        self.patch(formats, "_local_time", formats._Stamp(formats._local))


class ReactorTests(InZone):
    def test_line_of_the_original(self) -> None:
        self.zone("America/Los_Angeles")
        record = make_record(status=401, sent=0)
        self.assertEqual(reactor(record), b'127.0.0.1 - [11/Aug/2014:13:21:24 -0700] "GET /token HTTP/1.1" 401 0\n')

    def test_zone_east_and_user(self) -> None:
        self.zone("Asia/Kolkata")
        record = make_record(time=1407788485.0, principal=ALICE, target=b"/a?x=1&y=%20")
        self.assertEqual(reactor(record), b'127.0.0.1 alice [12/Aug/2014:01:51:25 +0530] "GET /a?x=1&y=%20 HTTP/1.1" 200 73\n')

    def test_time_follows_each_record(self) -> None:
        self.zone("UTC0")
        stamps = [reactor(make_record(time=1407788400.0 + step)).split(b"[")[1][:20] for step in (0, 0.9, 1, 0)]
        self.assertEqual([stamp[-2:] for stamp in stamps], [b"00", b"00", b"01", b"00"])

    def test_request_that_could_not_be_read(self) -> None:
        record = make_record(method=b"", target=b"", version="", status=400)
        self.assertIn(b'] "-" 400 73\n', reactor(record))
        self.assertIn(b'] "- - HTTP/1.1" 200', reactor(make_record(method=b"", target=b"")))
        self.assertIn(b'] "GET /token -" 200', reactor(make_record(version="")))
        self.assertTrue(reactor(make_record(address="")).startswith(b"- - ["))

    def test_a_user_called_dash(self) -> None:
        columns = [reactor(make_record(principal=who)).split(b" ")[1] for who in (None, Principal("-", "r"), Principal("", "r"))]
        self.assertEqual(columns, [b"-", rb"\x2d", b'""'])

    @given(records)
    def test_attack_42_columns_hold_what_was_sent(self, record: AccessRecord) -> None:
        line = reactor(record)
        found = COLUMNS.fullmatch(line)
        assert found is not None, line
        self.assertEqual(unescaped(found[1]), as_bytes(record.address) or b"-")
        if record.principal is not None and record.principal.username:
            self.assertEqual(unescaped(found[2]), as_bytes(record.principal.username))
        request = [record.method, redact(record.target), as_bytes(record.version)]
        if any((record.method, record.target, record.version)):
            self.assertEqual([unescaped(part) for part in found[4].split(b" ")], [part or b"-" for part in request])


class CombinedTests(InZone):
    def test_line(self) -> None:
        self.zone("UTC0")
        headers = make_headers(referer=b"https://gw/a b?token=xyzzy", user_agent=b'curl/8 (x; "y") \\')
        self.assertEqual(
            combined(make_record(principal=ALICE, headers=headers)),
            b'127.0.0.1 - alice [11/Aug/2014:20:21:24 +0000] "GET /token HTTP/1.1" 200 73 '
            b'"https://gw/a b?token=REDACTED" "curl/8 (x; \\x22y\\x22) \\x5c"\n',
        )

    def test_fields_that_are_missing(self) -> None:
        for headers in (None, make_headers(host=b"gw")):
            self.assertTrue(combined(make_record(headers=headers)).endswith(b' 200 73 "-" "-"\n'))

    def test_attack_42_column_forged_in_a_user_name(self) -> None:
        forger = Principal('alice [11/Aug/2014:13:21:24 -0700] "GET / HTTP/1.1" 200 0\n', "local")
        line = combined(make_record(principal=forger))
        self.assertEqual(line.count(b"\n"), 1)
        self.assertIn(rb" - alice\x20[11/Aug", line)
        self.assertEqual(line.count(b'"'), 6)


class RequestIdTests(InZone):
    """The column of ``request_id = yes``."""

    def test_the_last_column_of_a_text_format(self) -> None:
        self.zone("UTC0")
        record = make_record(request_id=ID)
        for kind in (AuditFormat.REACTOR, AuditFormat.COMBINED):
            plain, with_id = line_format(kind)(record), line_format(kind, request_id=True)(record)
            self.assertEqual(with_id, plain[:-1] + b" " + ID + b"\n")
            self.assertEqual(line_format(kind, ["ref"], request_id=True)(record), with_id)
            self.assertEqual(line_format(kind, request_id=True)(make_record()), plain[:-1] + b" -\n")
            parsed = parse_line(with_id)
            assert parsed is not None
            self.assertEqual(parsed.request_id, ID.decode())
            self.assertEqual(attrs.evolve(parsed, request_id=""), parse_line(plain))

    def test_json_always_has_it(self) -> None:
        record = make_record(request_id=ID)
        self.assertEqual(line_format(AuditFormat.JSON, request_id=True)(record), json_format(record))
        self.assertIsNone(json.loads(json_format(make_record()))["request_id"])


class CommandTests(InZone):
    """The column of ``command = yes``."""

    def test_the_last_column_but_the_id(self) -> None:
        self.zone("UTC0")
        for command, shown in (
            ("", b"-"),
            ("CtsCmd:8", b'"CtsCmd:8"'),
            ('a "b"\n\\', rb'"a \x22b\x22\x0a\x5c"'),
            ("-", b'"-"'),
            ("é\ud800", rb'"\xc3\xa9\xed\xa0\x80"'),
            (TOKEN_PREFIX + "A" * 40, b'"perimeter_REDACTED"'),
        ):
            record = make_record(command=command, request_id=ID)
            for kind in (AuditFormat.REACTOR, AuditFormat.COMBINED):
                plain = line_format(kind)(record)
                line = line_format(kind, command=True)(record)
                self.assertEqual(line.count(b"\n"), 1)
                self.assertEqual(line_format(kind, ["ref"], command=True)(record), line)
                both = line_format(kind, request_id=True, command=True)(record)
                self.assertEqual(both, line[:-1] + b" " + ID + b"\n")
                for text, found in ((line, ""), (both, ID.decode())):
                    parsed = parse_line(text)
                    assert parsed is not None
                    self.assertEqual(parsed.request_id, found)
                    self.assertEqual(attrs.evolve(parsed, request_id=""), parse_line(plain))
                if command != "é\ud800":
                    self.assertEqual(line, plain[:-1] + b" " + shown + b"\n")

    def test_json_always_has_it(self) -> None:
        for command, shown in (
            ("", None),
            ("CtsCmd:8", "CtsCmd:8"),
            ('"\n\ud800', '"\n\\ud800'),
            (TOKEN_PREFIX + "A" * 40, "perimeter_REDACTED"),
        ):
            record = make_record(command=command)
            self.assertEqual(line_format(AuditFormat.JSON, command=True)(record), json_format(record))
            self.assertEqual(json.loads(json_format(record))["command"], shown)


class JsonTests(InZone):
    def test_object(self) -> None:
        headers = make_headers(referer=b"https://gw/", user_agent=b"curl/8", authorization=b"Basic eHl6enk=", cookie=b"s=xyzzy")
        who = attrs.evolve(ALICE, grant=Grant("7", 0.0, 1.0, GrantKind.API_TOKEN))
        record = make_record(principal=who, headers=headers, reason="client_gone", received=5, request_id=ID)
        self.assertEqual(
            json.loads(json_format(record)),
            {
                "time": "2014-08-11T20:21:24.250Z",
                "duration": 0.0125,
                "address": "127.0.0.1",
                "listener": "https",
                "tls": "TLSv1.3",
                "method": "GET",
                "target": "/token",
                "version": "HTTP/1.1",
                "host": "gw.example.com:9443",
                "status": 200,
                "sent": 73,
                "received": 5,
                "user": "alice",
                "realm": "local",
                "roles": ["admin", "ops"],
                "authenticator": "file",
                "token": "7",
                "session": None,
                "factors": 1,
                "route": "site",
                "upstream": "web",
                "event": None,
                "reason": "client_gone",
                "detail": "",
                "attempted_user": None,
                "referer": "https://gw/",
                "user_agent": "curl/8",
                "request_id": "0af7651916cd43dd8448eb211c80319c",
                "command": None,
            },
        )

    def test_attack_66_a_token_in_the_place_of_a_user_name(self) -> None:
        token = TOKEN_PREFIX + "A" * 40
        jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
        for name, shown in (
            ("bob", "bob"),
            ('b"o\n\x1b[31mb', 'b"o\n\x1b[31mb'),
            (token, "REDACTED"),
            (f"x-{token}@gw", "x-REDACTED@gw"),
            (jwt, "REDACTED"),
            ("ghp_" + "a1B2" * 9, "REDACTED"),
            ("glpat-" + "a1B2" * 5, "REDACTED"),
            ("n" * 64, "n" * 64),
            ("n" * 65, "n" * 63 + "…"),
            ("n" * 60 + token, "n" * 60 + "RED…"),
            ("-", "-"),
            ("", ""),
            ("\ud800", "\\ud800"),
        ):
            line = json_format(make_record(attempted_user=name))
            self.assertEqual(line.count(b"\n"), 1)
            self.assertEqual(json.loads(line)["attempted_user"], shown)

    def test_unknown_is_null(self) -> None:
        parsed = json.loads(json_format(make_record()))
        self.assertEqual(
            [parsed[key] for key in ("user", "realm", "roles", "token", "session", "factors", "referer", "user_agent")],
            [None, None, [], None, None, None, None, None],
        )

    def test_how_the_user_was_known(self) -> None:
        for kind, token, session in (
            (GrantKind.SESSION, None, "7"),
            (GrantKind.API_TOKEN, "7", None),
            (GrantKind.ACCESS_TOKEN, "7", None),
        ):
            who = attrs.evolve(ALICE, grant=Grant("7", 0.0, 1.0, kind))
            parsed = json.loads(json_format(make_record(principal=who)))
            self.assertEqual((parsed["token"], parsed["session"], parsed["factors"]), (token, session, 1))
            strong = attrs.evolve(ALICE, grant=Grant("7", 0.0, 1.0, kind, second=1.5))
            self.assertEqual(json.loads(json_format(make_record(principal=strong)))["factors"], 2)
        parsed = json.loads(json_format(make_record(principal=ALICE)))
        self.assertEqual((parsed["token"], parsed["session"], parsed["factors"]), (None, None, 1))

    @given(records)
    def test_attack_42_parses_back_to_what_was_sent(self, record: AccessRecord) -> None:
        line = json_format(record)
        parsed = json.loads(line)
        self.assertEqual(len(parsed), 29)

        def from_text(text: str) -> str:
            return text.encode("utf-8", "backslashreplace").decode()

        for name in ("address", "listener", "tls", "version", "route", "upstream", "reason", "detail"):
            self.assertEqual(parsed[name], from_text(getattr(record, name)))
        for name in ("status", "sent", "received"):
            self.assertEqual(parsed[name], getattr(record, name))
        for name in ("method", "host"):
            self.assertEqual(parsed[name], getattr(record, name).decode("utf-8", "backslashreplace"))
        self.assertEqual(parsed["target"], redact(record.target).decode("utf-8", "backslashreplace"))
        if record.principal is not None:
            self.assertEqual(parsed["user"], from_text(record.principal.username))
            self.assertEqual(parsed["roles"], [from_text(role) for role in record.principal.roles])
        self.assertAlmostEqual(parsed["duration"], record.duration, places=5)


class EveryFormatTests(unittest.TestCase):
    @given(records)
    def test_attack_42_log_injection(self, record: AccessRecord) -> None:
        for make_line in FORMATS.values():
            line = make_line(record)
            self.assertEqual(line[-1:], b"\n")
            text = line[:-1].decode("utf-8")
            self.assertIsNone(CONTROL.search(text), text)
            self.assertEqual(text.splitlines(), [text])
            self.assertTrue(all(character.isprintable() for character in text))

    def test_attack_42_no_credential_in_any_format(self) -> None:
        headers = make_headers(
            authorization=b"Bearer xyzzy", cookie=b"session=xyzzy", referer=b"https://a:xyzzy@gw/?Access_Token=xyzzy#token=xyzzy"
        )
        for target in (b"/a?access_token=xyzzy&b=1", b"/a;password=xyzzy", b"http://bob:xyzzy@gw/", b"/a%3Ftoken%3Dxyzzy"):
            for make_line in FORMATS.values():
                line = make_line(make_record(headers=headers, target=target))
                self.assertNotIn(b"xyzzy", line)
                self.assertIn(REDACTED, line)

    def test_clean_and_escaped_lines_are_made_alike(self) -> None:
        # the fast and the slow path may differ only in the escaping
        for make_line in (reactor, combined):
            plain = make_line(make_record(principal=ALICE, target=b"/a!b"))
            long_way = make_line(make_record(principal=ALICE, target=b'/a"b'))
            self.assertEqual(plain, long_way.replace(rb"\x22", b"!"))


class EscapeTests(unittest.TestCase):
    def test_attack_42_each_byte_is_visible(self) -> None:
        for raw, expected in (
            (b"a\nb\rc\x1b[0m", rb"a\x0ab\x0dc\x1b[0m"),
            ("\x85\u2028\u2029".encode(), rb"\xc2\x85\xe2\x80\xa8\xe2\x80\xa9"),
            (b"\xff\x85\x7f", rb"\xff\x85\x7f"),
            ("José\u202e".encode(), "José".encode() + rb"\xe2\x80\xae"),
            (b'"\\', rb"\x22\x5c"),
        ):
            self.assertEqual(escape(raw), expected)
        self.assertEqual((escape(b"a b"), escape(b"a b", blank=True)), (rb"a\x20b", b"a b"))


class RedactTests(unittest.TestCase):
    def test_attack_68_a_target_of_thousands_of_parts(self) -> None:
        for unit in (b"%&", b"&", b"%41&", b"token=1&", b"a=%41;", b"#", b"?"):
            url = b"/?token=%41&" + unit * (32_000 // len(unit))
            spent = []
            for _ in range(3):
                began = time.thread_time()
                shown = redact(url)
                spent.append(time.thread_time() - began)
            self.assertLess(min(spent), 0.005, unit)
            self.assertTrue(shown.startswith(b"/?token=REDACTED&"), unit)
            self.assertTrue(shown.endswith(REDACTED), unit)
            self.assertLess(len(shown), 256 * 20)

    def test_attack_103_a_target_of_beginnings_of_tokens(self) -> None:
        for unit in (b"eyJ", b"eyJaaaaaa-", b"eyJaaaaaa.", b"eyJaaaaaa.eyJaaaaaa!", b"-eyJ", b"%65yJ", b"a.eyJ"):
            for beginning in (b"/", b"/?token=%41&b="):
                url = beginning + unit * (32_000 // len(unit))
                spent = []
                for _ in range(3):
                    began = time.thread_time()
                    redact(url)
                    spent.append(time.thread_time() - began)
                self.assertLess(min(spent), 0.01, url[:40])

    def test_attack_103_a_name_of_beginnings_of_tokens(self) -> None:
        began = time.thread_time()
        for _ in range(10):
            shown_name("eyJ" * 10_000)
        self.assertLess(time.thread_time() - began, 0.02)

    def test_the_first_beginning_of_a_run_is_the_one_that_counts(self) -> None:
        for url, shown in (
            (b"/xeyJaaaaaa.b.c", b"/xREDACTED"),
            (b"/eyJaeyJaaaaaa.b.", b"/REDACTED"),
            (b"/eyJaaaaa.b.c", b"/eyJaaaaa.b.c"),
            (b"/eyJaaaaaa..c", b"/eyJaaaaaa..c"),
            (b"/eyJaaaaaa.b/c", b"/eyJaaaaaa.b/c"),
            (b"/eyJ.eyJaaaaaa.b.c.d", b"/eyJ.REDACTED.d"),
        ):
            self.assertEqual(redact(url), shown)

    def test_attack_68_up_to_the_limit_every_part_is_shown_and_beyond_it_none(self) -> None:
        names = [b"a%d=%%41" % number for number in range(MOST_PARTS)]
        url = b"?".join((b"/", b"&".join(names[:-2])))
        self.assertEqual(redact(url), url)
        url = b"?".join((b"/", b"&".join(names[:-1])))
        self.assertEqual(redact(url), url)
        self.assertEqual(redact(url + b"&password=x&y=z"), url + b"&REDACTED")

    def test_attack_42_secret_parameters(self) -> None:
        for url, expected in (
            (b"/a?access_token=xyzzy", b"/a?access_token=REDACTED"),
            (b"/a?ACCESS_TOKEN=xyzzy&b=2", b"/a?ACCESS_TOKEN=REDACTED&b=2"),
            (b"/a?%61ccess%5Ftoken=xyzzy", b"/a?%61ccess%5Ftoken=REDACTED"),
            (b"/a?%2561ccess_token=xyzzy", b"/a?%2561ccess_token=REDACTED"),
            (b"/a?b=1;Password=xyzzy;c=3", b"/a?b=1;Password=REDACTED;c=3"),
            (b"/a?pwd=xy=zzy", b"/a?pwd=REDACTED"),
            (b"/a?user[password]=xyzzy", b"/a?user[password]=REDACTED"),
            (b"/a?rd=%2Fb%3Ftoken%3Dxyzzy&c=3", b"/a?rd=REDACTED&c=3"),
            (b"/a?token%3Dxyzzy", b"/a?REDACTED"),
            (b"/a?x%3Dtoken%3Dxyzzy=1", b"/a?REDACTED"),
            (b"/a?b=1?access_token=xyzzy", b"/a?b=1?access_token=REDACTED"),
            (b"/a#id_token=xyzzy", b"/a#id_token=REDACTED"),
            (b"https://bob:xyzzy@gw/a", b"https://REDACTED@gw/a"),
        ):
            self.assertEqual(redact(url), expected)

    def test_attack_59_codes_keys_and_the_like(self) -> None:
        names = [
            "code",
            "key",
            "bearer",
            "KEY",
            "Code",
            "code[]",
            "auth_code",
            "authCode",
            "authorization_code",
            "device-code",
            "deviceCode",
            "user_code",
            "verificationCode",
            "code_verifier",
            "subscription-key",
            "subscriptionKey",
            "x-functions-key",
            "sort.key",
            "authkey",
            "private_key",
            "ticket",
            "id_token_hint",
            "SAMLResponse",
            "SAMLart",
            "PHPSESSID",
            "session",
            "session_key",
            "otp",
            "totp",
            "mfa",
            "basic",
            "cred",
            "creds",
            "hmac",
            "csrf",
            "tan",
            "one-time-code",
        ]
        for name in names:
            raw = name.encode()
            self.assertEqual(redact(b"/a?x=1&%b=xyzzy&y=2" % raw), b"/a?x=1&%b=REDACTED&y=2" % raw, name)
            self.assertEqual(redact(b"/cb?rd=%%2Fb%%3F%b%%3Dxyzzy" % raw), b"/cb?rd=REDACTED", name)
        self.assertEqual(redact(b"/a;key=xyzzy/b#code=xyzzy"), b"/a;key=REDACTED#code=REDACTED")

    def test_attack_59_a_signed_token_is_a_secret_wherever_it_stands(self) -> None:
        token = b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4eXp6eSJ9.zzy_-"
        for url, expected in (
            (b"/reset/" + token, b"/reset/REDACTED"),
            (b"/a?x=" + token + b"&y=2", b"/a?x=REDACTED&y=2"),
            (b"/a/" + token.replace(b".", b"%2E"), b"REDACTED"),
            (b"/eyJ/eyJhbGci", b"/eyJ/eyJhbGci"),
        ):
            self.assertEqual(redact(url), expected)
        record = make_record(target=b"/reset/" + token, headers=make_headers(referer=b"http://a/" + token))
        for make_line in FORMATS.values():
            self.assertNotIn(b"zzy_-", make_line(record))

    def test_attack_59_parameters_that_a_site_adds(self) -> None:
        redactor = Redactor(("invitation", "A+b"))
        for url, expected in (
            (b"/a?invitation=xyzzy&b=1", b"/a?invitation=REDACTED&b=1"),
            (b"/a?Last_Invitation=xyzzy", b"/a?Last_Invitation=REDACTED"),
            (b"/a?a%2Bb=xyzzy&key=xyzzy", b"/a?a%2Bb=REDACTED&key=REDACTED"),
            (b"/a?invitations=5&aab=1", b"/a?invitations=5&aab=1"),
        ):
            self.assertEqual(redactor(url), expected)
        record = make_record(target=b"/a?invitation=xyzzy", headers=make_headers(referer=b"/b?invitation=xyzzy"))
        for kind in FORMATS:
            self.assertNotIn(b"xyzzy", line_format(kind, ("invitation",))(record), kind)
            self.assertIs(line_format(kind), FORMATS[kind])

    def test_attack_42_an_api_token_is_a_secret_wherever_it_stands(self) -> None:
        secret = b"perimeter_" + b"xy-_" * 10 + b"zzy"
        for url, expected in (
            (b"/token/%b", b"/token/perimeter_REDACTED"),
            (b"/a/%b/b?c=%b", b"/a/perimeter_REDACTED/b?c=perimeter_REDACTED"),
            (b"/a?c=%b&d", b"/a?c=perimeter_REDACTED&d"),
        ):
            self.assertEqual(redact(url.replace(b"%b", secret)), expected)
        for url in (b"/token/" + secret.replace(b"_", b"%5F"), b"/token/" + secret.replace(b"_", b"%255f")):
            self.assertNotIn(b"zzy", redact(url))
        record = make_record(target=b"/token/" + secret)
        for name in FORMATS:
            self.assertNotIn(b"zzy", FORMATS[name](record), name)
        self.assertEqual(redact(b"/perimeter_metrics"), b"/perimeter_metrics")

    def test_everything_else_stays(self) -> None:
        for url in (
            b"/a",
            b"/a?b=1&c=%20&d",
            b"/tokens?page=2",
            b"/a?tokens",
            b"/passwords/=",
            b"/a?keyword=x&design=1&compass=n",
            b"/a?monkey=1&zipcode=2&encoder=3&decode=4&stamp=5&sessions=6",
            b"/@me",
        ):
            self.assertEqual(redact(url), url)
