"""API tokens by themselves: their text, their end, and what they grant."""

from __future__ import annotations

from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.errors import ExpiredToken, InvalidToken, UncheckedToken, UnknownToken
from perimeter.model import Grant, GrantKind, Principal, Restriction
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.api_token import ApiToken, ApiTokenVerifier, digest_of, grant_of, mint
from perimeter.tokens.check import TokenCheck
from tests.unit.doubles.tokens_site import CHECK

ALICE = Principal("alice", "local")


class Known:
    """The tokens that are kept."""

    def __init__(self, *tokens: ApiToken) -> None:
        self.tokens = {token.digest: token for token in tokens}

    def find(self, digest: bytes) -> ApiToken | None:
        return self.tokens.get(digest)


class ApiTokenTests(TestCase):
    def test_a_new_token(self) -> None:
        text, kept = mint("ci", ALICE, 5.0, 9.0)
        self.assertRegex(text, r"^perimeter_[A-Za-z0-9_-]{43}$")
        self.assertEqual((kept.name, kept.owner, kept.created, kept.expires), ("ci", ALICE, 5.0, 9.0))
        self.assertEqual((kept.digest, kept.restriction, kept.passing), (digest_of(text), None, False))
        self.assertEqual((len(kept.id), len(kept.digest)), (16, 32))
        self.assertIs(kept.adds, True)
        self.assertIs(mint("", ALICE, 5.0, 9.0, passing=True)[1].passing, True)
        self.assertNotEqual(mint("ci", ALICE, 5.0, 9.0)[0], text)

    def test_one_that_says_nothing_more_lasts_and_has_a_name(self) -> None:
        kept = ApiToken("7", b"", "ci", ALICE, 0.0)
        self.assertEqual((kept.expires, kept.restriction, kept.passing), (inf, None, False))

    def test_the_digest_is_not_shown(self) -> None:
        kept = mint("ci", ALICE, 0.0, inf)[1]
        self.assertNotIn(repr(kept.digest), repr(kept))

    def test_attack_36_it_ends_at_the_moment_that_it_names(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, 10.0)
        clock = Clock()
        verifier = ApiTokenVerifier(Known(kept), clock)
        clock.advance(9.75)
        self.assertIs(verifier.verify(text), kept)
        clock.advance(0.25)
        self.assertRaises(ExpiredToken, verifier.verify, text)

    def test_attack_41_what_is_not_kept_is_refused(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, inf)
        known = Known(kept)
        verifier = ApiTokenVerifier(known, Clock())
        self.assertRaises(InvalidToken, verifier.verify, mint("ci", ALICE, 0.0, inf)[0])
        self.assertRaises(InvalidToken, ApiTokenVerifier(None, Clock()).verify, text)
        for other in (text[:-1], text + "A", text + "\n", "x" + text):
            self.assertRaises(InvalidToken, verifier.verify, other)

    def test_its_text_has_a_check(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, inf, check=CHECK)
        self.assertRegex(text, r"\Aperimeter_2_[A-Za-z0-9_-]{43}\Z")
        self.assertEqual(kept.digest, digest_of(text))

    def test_a_token_in_memory_is_good_whatever_its_check_says(self) -> None:
        text, kept = mint("ci", ALICE, 0.0, inf, check=TokenCheck(SecretsKey(b"l" * 32)))
        self.assertIs(ApiTokenVerifier(Known(kept), Clock(), CHECK).verify(text), kept)
        self.assertIs(type(self.assertRaises(InvalidToken, ApiTokenVerifier(Known(), Clock(), CHECK).verify, text)), InvalidToken)

    def test_what_is_unknown_may_be_known_elsewhere(self) -> None:
        verifier = ApiTokenVerifier(Known(), Clock(), CHECK)
        for check, kind in ((CHECK, UnknownToken), (None, UncheckedToken)):
            text = mint("ci", ALICE, 0.0, inf, check=check)[0]
            error = self.assertRaises(InvalidToken, verifier.verify, text)
            self.assertEqual((type(error), error.digest), (kind, digest_of(text)))

    def test_without_a_check_everything_may_be_known_elsewhere(self) -> None:
        for text in (CHECK.make(), CHECK.make()[:-1] + "~", mint("ci", ALICE, 0.0, inf)[0]):
            error = self.assertRaises(InvalidToken, ApiTokenVerifier(Known(), Clock()).verify, text)
            self.assertIs(type(error), UnknownToken)

    def test_where_there_are_no_tokens_none_is_known_elsewhere(self) -> None:
        error = self.assertRaises(InvalidToken, ApiTokenVerifier(None, Clock(), CHECK).verify, CHECK.make())
        self.assertIs(type(error), InvalidToken)

    def test_its_grant(self) -> None:
        limits = Restriction(methods=frozenset(("GET",)))
        kept = ApiToken("7", b"", "ci", ALICE, 5.0, 9.0, limits)
        self.assertEqual(grant_of(kept), Grant("7", 5.0, 9.0, GrantKind.API_TOKEN, limits))
