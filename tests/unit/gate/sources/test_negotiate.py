"""``Authorization: Negotiate`` as a source of credentials."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from perimeter.errors import CredentialsTooLarge, Rejected
from perimeter.gate.sources.negotiate import Negotiate
from perimeter.http.grammar import parse_block
from perimeter.model import AuthenticationRequest, ClientConnection, Credentials, HeaderBlock, NegotiateCredentials, Principal

JOE = Principal("joe", "people")
CONNECTION = ClientConnection("192.0.2.7", 40000, "https", 443, "TLSv1.3")


class Chain:
    def __init__(self) -> None:
        self.asked: list[tuple[Credentials, AuthenticationRequest]] = []

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal:
        self.asked.append((credentials, request))
        return JOE


def headers(*values: str, more: str = "") -> HeaderBlock:
    lines = "".join(f"Authorization: {value}\r\n" for value in values)
    return parse_block(f"Host: gw\r\n{lines}{more}".encode(), 20)


class NegotiateTests(TestCase):
    def setUp(self) -> None:
        self.chain = Chain()
        self.source = Negotiate(self.chain, 40)

    def identify(self, *values: str, more: str = "") -> Principal | None:
        found = self.source.identify(headers(*values, more=more), "198.51.100.1", CONNECTION)
        return None if found is None else self.successResultOf(Deferred.fromCoroutine(found))  # type: ignore[arg-type]

    def test_a_token(self) -> None:
        for value in ("Negotiate dG9rZW4=", "negotiate  dG9rZW4= ", "NEGOTIATE dG9rZW4="):
            self.chain.asked.clear()
            self.assertEqual(self.identify(value), JOE)
            request = AuthenticationRequest("198.51.100.1", frozenset(), "192.0.2.7")
            self.assertEqual(self.chain.asked, [(NegotiateCredentials(b"token"), request)])

    def test_a_client_narrows_its_realms(self) -> None:
        self.identify("Negotiate dG9rZW4=", more="X-Auth-Realm: people\r\n")
        self.assertEqual(self.chain.asked[0][1].realms, frozenset(("people",)))

    def test_other_credentials(self) -> None:
        for values in ((), ("Basic dG9rZW4=",), ("Bearer x",), ("Negotiat dG9rZW4=",), ("Negotiate dG9rZW4=",) * 2):
            self.assertIsNone(self.identify(*values), values)
            self.assertIsNone(self.source.by_browser(headers(*values)), values)
        self.assertEqual(self.chain.asked, [])

    def test_attack_144_malformed_tokens(self) -> None:
        for value in ("Negotiate", "Negotiate !", "Negotiate dG9rZW4", "Negotiate dG9r ZW4=", "Negotiate dG9rZW4=, Bearer x"):
            with self.assertRaises(Rejected, msg=value):
                self.identify(value)

    def test_the_length_is_bounded(self) -> None:
        value = "Negotiate dG9rZW4="
        self.source = Negotiate(self.chain, len(value))
        self.assertEqual(self.identify(value), JOE)
        self.source = Negotiate(self.chain, len(value) - 1)
        with self.assertRaises(CredentialsTooLarge) as caught:
            self.identify(value)
        self.assertEqual(caught.exception.detail, "an Authorization value of 18 bytes, over [limits] max_authorization = 17")

    def test_attack_90_a_browser_sends_it_by_itself(self) -> None:
        self.assertIs(self.source.by_browser(headers("Negotiate dG9rZW4=")), True)

    def test_it_is_a_first_hand_credential_and_nothing_is_remembered(self) -> None:
        found = self.source.identify_first_hand(headers("Negotiate dG9rZW4="), "198.51.100.1", CONNECTION)
        assert found is not None
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(found)), JOE)  # type: ignore[arg-type]
        self.assertEqual(self.source.until(headers("Negotiate dG9rZW4=")), 0.0)
        self.assertEqual(self.source.challenges(), ())
        self.source.forget()
