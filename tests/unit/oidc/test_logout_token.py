"""Logout tokens: which are accepted, and tokens for another purpose in their place (attack O6)."""

from __future__ import annotations

from typing import Any

import attrs
import jwt
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.judge import read_header
from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.oidc.claims import ClaimRules
from perimeter.oidc.idtoken import Expected
from perimeter.oidc.logout_token import EVENT, MAX_ID, judge_logout_token
from perimeter.plugin.redirect import LoggedOut
from perimeter.tokens.jwk import Jwk, generate

NOW = 1_800_000_000
KEY = generate("ES256")
ISSUER = "https://sso.example.com"
EXPECTED = Expected(ISSUER, "gateway", frozenset({"account"}))
RULES = ClaimRules("corp", "corp")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "gateway",
    "sub": "sub-7",
    "sid": "sid-1",
    "jti": "7",
    "iat": NOW,
    "exp": NOW + 120,
    "events": {EVENT: {}},
}


def make(typ: Any = "logout+jwt", key: Jwk = KEY, header: dict[str, Any] | None = None, purpose: Any = ..., **claims: Any) -> str:
    """A token with this ``typ`` in its header, and ``purpose`` as ``typ`` of its claims; a claim of ``...`` is left out."""
    body = {name: value for name, value in {**CLAIMS, "typ": purpose, **claims}.items() if value is not ...}
    headers = {"kid": key.kid, **(header or {}), "typ": typ}
    return jwt.encode(body, key.private, key.algorithm, headers=headers)  # type: ignore[arg-type]


class LogoutTokenTests(TestCase):
    def judged(self, token: str, expected: Expected = EXPECTED, rules: ClaimRules = RULES, now: float = NOW) -> LoggedOut:
        header = read_header(token)
        assert header is not None
        return judge_logout_token(header, [KEY], expected, rules, now)

    def refused(self, token: str, why: str, now: float = NOW, expected: Expected = EXPECTED) -> None:
        with self.assertRaises(InvalidToken, msg=why) as raised:
            self.judged(token, expected, now=now)
        self.assertIn(why, raised.exception.detail)

    def test_a_good_one(self) -> None:
        self.assertEqual(self.judged(make()), LoggedOut("sub-7", "sid-1", "7", NOW + 360.0))

    def test_what_may_be_otherwise(self) -> None:
        for claims in (
            {"aud": ["gateway"]},
            {"aud": ["account", "gateway"]},
            {"exp": ...},
            {"purpose": "Logout"},
            {"events": {EVENT: {"more": 1}, "other": {}}},
            {"nbf": NOW},
        ):
            self.assertEqual(self.judged(make(**claims)).jti, "7", claims)
        for typ in (None, "LOGOUT+JWT", "application/logout+jwt"):
            self.assertEqual(self.judged(make(typ)).jti, "7", typ)

    def test_a_user_or_a_session_alone(self) -> None:
        found = self.judged(make(sid=...))
        self.assertEqual((found.subject, found.sid), ("sub-7", ""))
        found = self.judged(make(sub=...))
        self.assertEqual((found.subject, found.sid), ("", "sid-1"))
        self.refused(make(sub=..., sid=...), "neither a user nor a session")

    def test_other_claims_that_identify_a_user(self) -> None:
        rules = attrs.evolve(RULES, identity_claims=("tid", "oid"))
        self.assertEqual(self.judged(make(tid="t", oid="o"), rules=rules).subject, "t/o")
        found = self.judged(make(tid="t"), rules=rules)
        self.assertEqual((found.subject, found.sid), ("", "sid-1"))
        with self.assertRaises(InvalidToken):
            self.judged(make(tid="t", sid=...), rules=rules)

    def test_attack_o6_a_token_for_another_purpose(self) -> None:
        for typ in ("at+jwt", "JWT", "perimeter-assertion+jwt", "id", 7):
            self.refused(make(typ), "type of a token for another purpose")
        for events in (..., None, [], {}, EVENT, [EVENT], {EVENT: None}, {EVENT: True}, {EVENT.upper(): {}}):
            self.refused(make(events=events), "no event of a logout")
        for nonce in ("n", "", None):
            self.refused(make(nonce=nonce), "has a nonce")
        for purpose in ("ID", "Refresh", 7, None):
            self.refused(make(purpose=purpose), "another purpose")

    def test_attack_o6_another_issuer_or_audience(self) -> None:
        for issuer in (..., "https://sso.example.com/", "https://evil.example"):
            self.refused(make(iss=issuer), "another issuer")
        for named in (..., "other", ["other"], [], None, 7, ["gateway", "other"]):
            self.refused(make(aud=named), "another client")

    def test_attack_o6_another_key(self) -> None:
        other = generate("ES256")
        self.refused(make(key=other, header={"kid": KEY.kid}), "signature")
        header = read_header(make())
        assert header is not None
        with self.assertRaises(InvalidToken):
            judge_logout_token(header, [other], EXPECTED, RULES, NOW)
        self.assertEqual(judge_logout_token(header, [other, KEY], EXPECTED, RULES, NOW).jti, "7")
        self.refused(make(header={"crit": ["x"], "x": 1}), "crit")

    def test_the_times(self) -> None:
        self.refused(make(iat=...), "no iat")
        self.refused(make(iat="now"), "iat")
        self.assertEqual(self.judged(make(iat=NOW - 299.75, exp=...)).until, NOW + 60.25)
        self.refused(make(iat=NOW - 300, exp=...), "too long ago")
        self.assertEqual(self.judged(make(iat=NOW + 60)).jti, "7")
        self.refused(make(iat=NOW + 60.25), "iat is in the future")
        self.refused(make(nbf=NOW + 61), "nbf")
        self.assertEqual(self.judged(make(exp=NOW + 0.25)).jti, "7")
        with self.assertRaises(ExpiredToken):
            self.judged(make(exp=NOW))
        self.refused(make(exp="soon"), "exp")

    def test_ids(self) -> None:
        longest = "é" * MAX_ID
        found = self.judged(make(sub=longest, sid=longest, jti=longest))
        self.assertEqual((found.subject, found.sid, found.jti), (longest, longest, longest))
        self.refused(make(jti=...), "no jti")
        for name in ("sub", "sid", "jti"):
            for value in ("", longest + "e", 7, True, ["7"], {}):
                self.refused(make(**{name: value}), f"{name} of the logout token")

    def test_a_refusal_shows_no_claim(self) -> None:
        with self.assertRaises(InvalidToken) as raised:
            self.judged(make(iss="https://evil.example/secret"))
        self.assertNotIn("secret", raised.exception.detail)
