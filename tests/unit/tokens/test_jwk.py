"""Keys are judged when they are loaded."""

from __future__ import annotations

import copy
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms
from twisted.trial.unittest import TestCase

from perimeter.tokens.jwk import MAX_KEYS, BadKey, ForeignKey, Jwk, generate, load_jwk, load_jwk_set, thumbprint
from tests.unit.doubles.properties import reached, reaches


def public(algorithm: str, key: Any) -> dict[str, Any]:
    written = dict(get_default_algorithms()[algorithm].to_jwk(key, as_dict=True))
    written.pop("key_ops", None)
    return written


EC = public("ES256", ec.generate_private_key(ec.SECP256R1()).public_key())
EC384 = public("ES384", ec.generate_private_key(ec.SECP384R1()).public_key())
OKP = public("EdDSA", ed25519.Ed25519PrivateKey.generate().public_key())
RSA = public("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
RSA1024 = public("RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key())
OCT = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "s"}
PRIVATE_EC = generate("ES256").members(private=True)


class ThumbprintTests(TestCase):
    def test_rfc_7638_example(self) -> None:
        modulus = (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj"
            "hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQv"
            "RL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnq"
            "DKgw"
        )
        members = {"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"}
        self.assertEqual(thumbprint(members), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")

    def test_rfc_8037_example(self) -> None:
        members = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "ignored"}
        self.assertEqual(thumbprint(members), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")

    def test_a_thumbprint_has_43_characters(self) -> None:
        for number in range(100):
            self.assertEqual(len(thumbprint({"kty": "OKP", "crv": "Ed25519", "x": str(number)})), 43, number)


class LoadTests(TestCase):
    def bad(self, data: object, text: str, *, private: bool = False) -> None:
        error = self.assertRaises(BadKey, load_jwk, data, private=private)
        self.assertNotIsInstance(error, ForeignKey)
        self.assertIn(text, str(error))

    def foreign(self, data: object, text: str) -> None:
        self.assertIn(text, str(self.assertRaises(ForeignKey, load_jwk, data)))

    def test_round_trip(self) -> None:
        for algorithm in ("ES256", "EdDSA", "RS256"):
            key = generate(algorithm)
            again = load_jwk(key.members(private=True), private=True)
            self.assertEqual(again, key)
            self.assertIsNotNone(again.private)
            shown = key.members()
            self.assertEqual(load_jwk(shown), Jwk(key.kid, algorithm, key.public))
            self.assertEqual(
                (shown["use"], shown["key_ops"], shown["alg"], shown["kid"]), ("sig", ["verify"], algorithm, key.kid)
            )
            self.assertTrue({"d", "p", "q", "dp", "dq", "qi"}.isdisjoint(shown))
            self.assertEqual(key.kid, thumbprint(shown))
            self.assertEqual(key.members(private=True)["key_ops"], ["sign"])

    def test_a_new_rsa_key_has_3072_bits(self) -> None:
        self.assertEqual(generate("RS256").public.key_size, 3072)  # type: ignore[union-attr]

    def test_algorithm_of_a_key_that_names_none(self) -> None:
        for members, algorithm in ((EC, "ES256"), (EC384, "ES384"), (OKP, "EdDSA"), (RSA, "RS256")):
            key = load_jwk(members)
            self.assertEqual((key.algorithm, key.kid), (algorithm, thumbprint(members)))
        self.assertEqual(load_jwk({**RSA, "alg": "PS256", "kid": "a/b"}).algorithm, "PS256")

    def test_attack_35_use(self) -> None:
        self.foreign({**EC, "use": "enc"}, "use of a key is not sig")
        self.bad({**EC, "use": ["sig"]}, "use of a key is not a string")
        self.assertEqual(load_jwk({**EC, "use": "sig"}).algorithm, "ES256")

    def test_attack_35_key_ops(self) -> None:
        self.foreign({**EC, "key_ops": ["sign"]}, "do not allow to verify")
        self.foreign({**EC, "key_ops": []}, "do not allow to verify")
        self.foreign({**RSA, "key_ops": ["encrypt", "wrapKey"]}, "do not allow to verify")
        self.bad({**RSA, "use": "sig", "key_ops": ["verify", "encrypt"]}, "contradict")
        self.bad({**EC, "key_ops": "verify"}, "list of different strings")
        self.bad({**EC, "key_ops": ["verify", "verify"]}, "list of different strings")
        self.bad({**EC, "key_ops": [1]}, "list of different strings")
        self.foreign({**EC, "use": "enc", "key_ops": ["verify"]}, "not sig")

    def test_attack_35_alg(self) -> None:
        self.bad({**EC, "alg": "RS256"}, "does not fit")
        self.bad({**EC, "alg": "ES384"}, "does not fit")
        self.bad({**EC, "alg": "HS256"}, "symmetric or none")
        self.bad({**RSA, "alg": "none"}, "symmetric or none")
        self.bad({**RSA, "alg": 256}, "not a string")
        self.foreign({**RSA, "alg": "RSA-OAEP"}, "unknown")

    def test_attack_35_curve(self) -> None:
        self.foreign({**EC, "crv": "secp256k1"}, "curve")
        self.foreign({**EC, "crv": "Ed25519"}, "curve")
        self.foreign({**EC, "crv": ["P-256"]}, "curve")
        self.foreign({name: value for name, value in EC.items() if name != "crv"}, "curve")
        self.bad({**EC, "crv": "P-384"}, "numbers")
        self.bad({**EC, "x": EC["y"], "y": EC["x"]}, "numbers")
        self.bad({**OKP, "x": OKP["x"][:-4]}, "numbers")

    def test_attack_35_size(self) -> None:
        self.bad(RSA1024, "1024 bits")
        self.bad({**RSA, "n": RSA["n"] * 5}, "bits")
        self.bad({**RSA, "n": "A" * 3000}, "base64url")
        self.bad({**RSA, "e": "AQ"}, "")
        self.bad({**RSA, "n": 5}, "base64url")

    def test_attack_35_private_and_public_are_not_mixed_up(self) -> None:
        self.bad(PRIVATE_EC, "private key stands among public")
        self.bad(EC, "private half", private=True)
        other = generate("ES256").members(private=True)
        self.bad({**PRIVATE_EC, "d": other["d"]}, "numbers", private=True)
        okp, wrong = generate("EdDSA").members(private=True), generate("EdDSA").members(private=True)
        self.bad({**okp, "d": wrong["d"]}, "numbers", private=True)
        rsa_key, third = generate("RS256").members(private=True), generate("RS256").members(private=True)
        self.bad({**rsa_key, "n": third["n"]}, "numbers", private=True)
        self.assertRaises(ForeignKey, load_jwk, {**PRIVATE_EC, "key_ops": ["verify"]}, private=True)

    def test_attack_35_symmetric_key(self) -> None:
        self.bad(OCT, "symmetric")
        self.bad(OCT, "symmetric", private=True)

    def test_messages_hold_no_key(self) -> None:
        for broken in ({**PRIVATE_EC, "x": PRIVATE_EC["d"]}, {**PRIVATE_EC, "y": "!"}, {**PRIVATE_EC, "alg": PRIVATE_EC["d"]}):
            error = self.assertRaises(BadKey, load_jwk, broken, private=True)
            self.assertNotIn(PRIVATE_EC["d"], str(error))
        self.assertNotIn(PRIVATE_EC["d"], repr(load_jwk(PRIVATE_EC, private=True)))
        self.assertNotIn("private", repr(load_jwk(PRIVATE_EC, private=True)), "nor that there is one")

    @reaches(2)
    @given(
        st.sampled_from([EC, OKP, RSA, PRIVATE_EC]),
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d", "alg", "use", "key_ops", "kid"]),
        st.none() | st.integers() | st.text(max_size=50) | st.lists(st.text(max_size=5)) | st.dictionaries(st.text(), st.none()),
        st.booleans(),
    )
    @settings(max_examples=300, deadline=None)
    def test_nothing_but_bad_key_is_raised(self, key: dict[str, Any], name: str, value: object, private: bool) -> None:
        changed = {**copy.deepcopy(key), name: value}
        try:
            loaded = load_jwk(changed, private=private)
        except BadKey:
            return
        reached(self)
        self.assertEqual(loaded.private is not None, private)


class SetTests(TestCase):
    def bad(self, data: object, text: str) -> None:
        self.assertIn(text, str(self.assertRaises(BadKey, load_jwk_set, data)))

    def test_keys_for_other_purposes_are_left_out_without_a_warning(self) -> None:
        encryption = {**RSA, "use": "enc", "alg": "RSA-OAEP", "kid": "e"}
        loaded = load_jwk_set({"keys": [{**EC, "kid": "a"}, encryption, {"kty": "AKP", "kid": "p"}, OKP]})
        self.assertEqual([key.kid for key in loaded.keys], ["a", thumbprint(OKP)])
        self.assertEqual(loaded.left_out, ())

    def test_one_bad_key_does_not_spoil_the_set(self) -> None:
        for bad, why in (
            (OCT, "a symmetric key stands among public ones"),
            (RSA1024, "an RSA key has 1024 bits, not 2048 to 8192"),
            (PRIVATE_EC, "a private key stands among public ones"),
            ("no key", "a key is not a JSON object"),
            ({**EC, "kid": 1}, "the name (kid) of a key is not printable ASCII of at most 256 characters"),
            ({**EC, "kid": "a\n"}, "the name (kid) of a key is not printable ASCII of at most 256 characters"),
            ({**EC, "x": "AAAA"}, "the numbers of a key are not those of a valid one"),
            ({**EC, "alg": "HS256"}, "alg of a key is symmetric or none"),
        ):
            loaded = load_jwk_set({"keys": [bad, {**OKP, "kid": "good"}]})
            self.assertEqual([key.kid for key in loaded.keys], ["good"], why)
            self.assertEqual(loaded.left_out, (f"key 1: {why}",))
            self.bad({"keys": [bad]}, f"key 1: {why}")
        self.bad(
            {"keys": [OCT, {**OKP, "use": "enc"}, RSA1024]}, "key 1: a symmetric key stands among public ones; key 3: an RSA"
        )

    def test_attack_35_a_symmetric_key_in_a_set_verifies_nothing(self) -> None:
        loaded = load_jwk_set({"keys": [OCT, {**EC, "kid": "s"}]})
        self.assertEqual([key.algorithm for key in loaded.fitting("s", "ES256")], ["ES256"])
        for algorithm in ("HS256", "none", "RS256", ""):
            self.assertEqual(loaded.fitting("s", algorithm), ())

    def test_keys_of_one_name_are_alternatives(self) -> None:
        keys = load_jwk_set({"keys": [{**EC, "kid": "a"}, {**OKP, "kid": "a"}, {**OKP, "kid": "b"}]})
        self.assertEqual([(key.kid, key.algorithm) for key in keys.fitting("a", "EdDSA")], [("a", "EdDSA")])
        self.assertEqual([key.kid for key in keys.fitting(None, "EdDSA")], ["a", "b"])
        self.assertEqual(keys.fitting("c", "EdDSA"), ())

    def test_attack_38_a_token_without_kid_costs_few_verifications(self) -> None:
        listed = [{**EC, "kid": str(number)} for number in range(MAX_KEYS)]
        found = load_jwk_set({"keys": listed}).fitting(None, "ES256")
        self.assertEqual([key.kid for key in found], ["0", "1", "2", "3"])
        self.bad({"keys": [*listed, EC]}, "more than 100 keys in a set")

    def test_attack_35_no_set(self) -> None:
        for data in ({}, [], None, "keys", {"keys": EC}, {"keys": None}):
            self.bad(data, "not a key set")
        for empty in ([], [{**OKP, "use": "enc"}]):
            self.bad({"keys": empty}, "no key of the set is for verifying signatures")
        self.bad({"keys": []}, "no key of the set")
        self.bad({"keys": [{**EC, "use": "enc"}]}, "no key of the set")
        self.bad({"keys": [{"kty": "unknown"}] * 101}, "more than 100")
