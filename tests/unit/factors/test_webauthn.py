"""The two ceremonies of passkeys: what a browser may answer, and all that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import cbor2
from twisted.trial.unittest import TestCase

from perimeter.errors import WrongFactor
from perimeter.factors.webauthn import (
    CounterBack,
    Passkey,
    RelyingParty,
    creation_options,
    credential_of,
    handle_of,
    registered,
    request_options,
    verified,
)
from tests.unit.doubles.authenticator import PRESENT, VERIFIED, Authenticator, b64, unb64

PARTY = RelyingParty("gw.example", "Forecasts", ("https://gw.example", "https://gw.example:8443"))
CHALLENGE = b"c" * 32
HANDLE = b"h" * 32


def enrolled(device: Authenticator) -> tuple[Passkey, int]:
    """The passkey of ``device``, registered, and its counter."""
    return registered(PARTY, device.create(creation_options(PARTY, "alice", HANDLE, (), CHALLENGE)), CHALLENGE, HANDLE)


def changed(answer: str, change: Callable[[Any], object]) -> str:
    """An answer with something changed in it."""
    sent = json.loads(answer)
    change(sent)
    return json.dumps(sent)


class OptionsTests(TestCase):
    def test_for_a_new_passkey(self) -> None:
        old = Passkey(b"old", b"", HANDLE, ("usb", "internal"))
        made = json.loads(creation_options(PARTY, "alice", HANDLE, (old,), CHALLENGE))
        self.assertEqual(made["rp"], {"id": "gw.example", "name": "Forecasts"})
        self.assertEqual(made["user"], {"id": b64(HANDLE), "name": "alice", "displayName": "alice"})
        self.assertEqual(made["challenge"], b64(CHALLENGE))
        self.assertEqual(made["timeout"], 300_000)
        self.assertEqual(made["attestation"], "none")
        self.assertEqual([one["alg"] for one in made["pubKeyCredParams"]], [-8, -7, -257])
        self.assertEqual(made["authenticatorSelection"]["residentKey"], "preferred")
        self.assertEqual(made["authenticatorSelection"]["userVerification"], "preferred")
        self.assertIs(made["authenticatorSelection"]["requireResidentKey"], False)
        self.assertEqual(
            made["excludeCredentials"], [{"id": b64(b"old"), "type": "public-key", "transports": ["usb", "internal"]}]
        )

    def test_to_use_one(self) -> None:
        one = Passkey(b"one", b"", HANDLE)
        made = json.loads(request_options(PARTY, (one,), CHALLENGE, False))
        self.assertEqual((made["rpId"], made["challenge"], made["timeout"]), ("gw.example", b64(CHALLENGE), 300_000))
        self.assertEqual([found["id"] for found in made["allowCredentials"]], [b64(b"one")])
        self.assertEqual(made["userVerification"], "preferred")
        self.assertEqual(json.loads(request_options(PARTY, (), CHALLENGE, True))["userVerification"], "required")


class RegistrationTests(TestCase):
    def test_what_is_kept(self) -> None:
        device = Authenticator(count=7)
        made, count = enrolled(device)
        self.assertEqual((made.credential, made.user, made.transports, count), (device.credential, HANDLE, ("usb",), 7))
        self.assertEqual(Passkey.decode(made.encode()), made)
        named = attrs.evolve(made, vouched="users")
        self.assertEqual(Passkey.decode(named.encode()), named)
        self.assertEqual(made.handle, handle_of(device.credential))
        self.assertEqual(handle_of(b"abc").hex()[:16], "ba7816bf8f01cfea")

    def test_any_bytes_are_kept(self) -> None:
        for value in range(256):
            made = Passkey(bytes([value]), bytes([value, value]), bytes([value] * 3))
            self.assertEqual(Passkey.decode(made.encode()), made)

    def test_a_certificate_of_a_device_is_not_read(self) -> None:
        options = creation_options(PARTY, "alice", HANDLE, (), CHALLENGE)
        for fmt, statement in (
            ("packed", {"alg": -7, "sig": b"0", "x5c": [b"0"]}),
            ("fido-u2f", {"sig": b"0", "x5c": [b"0"]}),
            ("tpm", {}),
        ):
            with self.assertRaises(WrongFactor) as caught:
                registered(PARTY, Authenticator().create(options, fmt, statement), CHALLENGE, HANDLE)
            self.assertEqual(caught.exception.detail, "an attestation that was not asked for", fmt)

    def test_client_data_with_two_readings(self) -> None:
        def twice(sent: Any) -> None:
            data = unb64(sent["response"]["clientDataJSON"])
            sent["response"]["clientDataJSON"] = b64(data.replace(b"{", b'{"origin":"https://evil.example",', 1))

        good = Authenticator().create(creation_options(PARTY, "alice", HANDLE, (), CHALLENGE))
        with self.assertRaises(WrongFactor):
            registered(PARTY, changed(good, twice), CHALLENGE, HANDLE)

    def test_the_ways_to_reach_it(self) -> None:
        answer = Authenticator().create(creation_options(PARTY, "alice", HANDLE, (), CHALLENGE))
        for ways, kept in (
            (None, ()),
            ([], ()),
            (["nfc", "telepathy", "usb"], ("nfc", "usb")),
            (["x"] * 7 + ["usb", "nfc"], ("usb",)),
        ):
            sent = changed(answer, lambda sent, ways=ways: sent["response"].update(transports=ways))  # type: ignore[misc]
            self.assertEqual(registered(PARTY, sent, CHALLENGE, HANDLE)[0].transports, kept)

    def test_the_authenticator_may_sign_for_itself(self) -> None:
        device = Authenticator()
        options = creation_options(PARTY, "alice", HANDLE, (), CHALLENGE)
        made, _ = registered(PARTY, device.create(options, "packed"), CHALLENGE, HANDLE)
        self.assertEqual(made.credential, device.credential)
        with self.assertRaises(WrongFactor):
            registered(PARTY, device.create(options, "packed", {"alg": -7, "sig": b"0"}), CHALLENGE, HANDLE)

    def test_what_is_refused(self) -> None:
        for device, what in (
            (Authenticator(origin="https://evil.example"), "origin"),
            (Authenticator(origin="https://gw.example.evil.example"), "origin"),
            (Authenticator(origin="http://gw.example"), "scheme"),
            (Authenticator(origin="https://gw.example:444"), "port"),
            (Authenticator(rp_id="evil.example"), "relying party"),
            (Authenticator(flags=VERIFIED), "no user was present"),
            (Authenticator(members={"challenge": b64(b"d" * 32)}), "challenge"),
            (Authenticator(members={"type": "webauthn.get"}), "type"),
            (Authenticator(members={"crossOrigin": True}), "in a frame"),
            (Authenticator(credential=b"x" * 1024), "long id"),
            (Authenticator(credential=b""), "no id"),
        ):
            with self.assertRaises(WrongFactor, msg=what):
                enrolled(device)
        self.assertEqual(len(enrolled(Authenticator(credential=b"x" * 1023))[0].credential), 1023)

    def test_an_attestation_that_was_not_asked_for(self) -> None:
        options = creation_options(PARTY, "alice", HANDLE, (), CHALLENGE)
        for fmt, statement in (
            ("tpm", {}),
            ("android-safetynet", {"ver": "1", "response": b"x"}),
            ("packed", {"alg": -7, "sig": b"0", "x5c": [b"0"]}),
            ("none", {"alg": -7}),
            ("unknown", {}),
        ):
            with self.assertRaises(WrongFactor, msg=fmt):
                registered(PARTY, Authenticator().create(options, fmt, statement), CHALLENGE, HANDLE)

    def test_answers_that_cannot_be_read(self) -> None:
        good = Authenticator().create(creation_options(PARTY, "alice", HANDLE, (), CHALLENGE))
        for answer in (
            "",
            "[]",
            "{}",
            "[" * 20_000,
            '{"a":1,"a":1}',
            "\ud800",
            changed(good, lambda sent: sent.pop("response")),
            changed(good, lambda sent: sent.update(response=7)),
            changed(good, lambda sent: sent.update(rawId="AA")),
            changed(good, lambda sent: sent.update(type="password")),
            changed(good, lambda sent: sent["response"].update(attestationObject="A")),
            changed(good, lambda sent: sent["response"].update(attestationObject=b64(b"\x81" * 20_000))),
            changed(good, lambda sent: sent["response"].update(attestationObject=b64(cbor2.dumps({"fmt": "none"})))),
            changed(good, lambda sent: sent["response"].update(clientDataJSON=b64(b"[]"))),
            changed(good, lambda sent: sent["response"].update(clientDataJSON=b64(b"\xff"))),
            changed(good, lambda sent: sent["response"].update(transports=7)),
        ):
            with self.assertRaises(WrongFactor, msg=answer[:60]):
                registered(PARTY, answer, CHALLENGE, HANDLE)


class DetailTests(TestCase):
    def test_the_log_gets_nothing_that_the_client_has_sent(self) -> None:
        good = Authenticator().create(creation_options(PARTY, "alice", HANDLE, (), CHALLENGE))
        for answer, why in (
            (
                Authenticator(origin='https://evil.example\x1b"evil').create(creation_options(PARTY, "a", HANDLE, (), CHALLENGE)),
                "origin",
            ),
            (changed(good, lambda sent: sent.update(type="evil")), "type"),
            (changed(good, lambda sent: sent["response"].update(clientDataJSON=b64(b"\xffevil"))), "UnicodeDecodeError"),
            ('{"evil":1,"evil":2}', "ValueError"),
        ):
            with self.assertRaises(WrongFactor) as caught:
                registered(PARTY, answer, CHALLENGE, HANDLE)
            self.assertNotIn("evil", caught.exception.detail)
            self.assertIn(why, caught.exception.detail)


class UseTests(TestCase):
    def use(self, device: Authenticator, made: tuple[Passkey, int], alone: bool = False) -> int:
        """``device`` is used for a passkey and its counter. Returns the new counter."""
        passkey, count = made
        answer = device.get(request_options(PARTY, (passkey,), CHALLENGE, alone))
        self.assertEqual(credential_of(answer), device.credential)
        return verified(PARTY, answer, CHALLENGE, passkey, count, alone)

    def test_it_is_good(self) -> None:
        device = Authenticator(count=1)
        made = enrolled(device)
        device.count = 2
        self.assertEqual(self.use(device, made), 2)
        self.assertEqual(self.use(device, made, alone=True), 2)

    def test_without_a_counter(self) -> None:
        device = Authenticator()
        made = enrolled(device)
        self.assertEqual(self.use(device, made), 0)

    def test_attack_b4_the_counter_goes_back(self) -> None:
        device = Authenticator(count=5)
        made = enrolled(device)
        for count in (0, 4, 5):
            device.count = count
            with self.assertRaises(CounterBack):
                self.use(device, made)
        device.count = 6
        self.assertEqual(self.use(device, made), 6)

    def test_attack_b4_a_counter_counts_only_with_a_good_signature(self) -> None:
        device = Authenticator(count=5)
        made = enrolled(device)
        device.count = 1
        device.key = Authenticator().key
        with self.assertRaises(WrongFactor) as caught:
            self.use(device, made)
        self.assertNotIsInstance(caught.exception, CounterBack)

    def test_attack_b4_what_is_refused(self) -> None:
        for change, what in (
            ({"origin": "https://evil.example"}, "origin"),
            ({"rp_id": "evil.example"}, "relying party"),
            ({"flags": VERIFIED}, "no user was present"),
            ({"members": {"challenge": b64(b"d" * 32)}}, "challenge"),
            ({"members": {"type": "webauthn.create"}}, "type"),
            ({"members": {"crossOrigin": True}}, "in a frame"),
            ({"key": Authenticator().key}, "another key"),
            ({"handle": b"x" * 32}, "another user"),
        ):
            device = Authenticator()
            made = enrolled(device)
            self.use(device, made)
            for name, value in change.items():
                setattr(device, name, value)
            with self.assertRaises(WrongFactor, msg=what):
                self.use(device, made)

    def test_attack_b4_the_user_was_not_verified(self) -> None:
        device = Authenticator()
        made = enrolled(device)
        device.flags = PRESENT
        self.assertEqual(self.use(device, made), 0)  # beside a password
        with self.assertRaises(WrongFactor):
            self.use(device, made, alone=True)

    def test_a_passkey_alone_names_its_user(self) -> None:
        device = Authenticator()
        made = enrolled(device)
        device.handle = b""
        self.assertEqual(self.use(device, made), 0)
        with self.assertRaises(WrongFactor):
            self.use(device, made, alone=True)

    def test_attack_b4_another_credential_with_the_same_key(self) -> None:
        device = Authenticator()
        made = enrolled(device)
        device.credential = b"another"
        with self.assertRaises(WrongFactor):
            self.use(device, made)

    def test_attack_b4_the_passkey_of_another_user(self) -> None:
        one, other = Authenticator(), Authenticator()
        enrolled(other)
        with self.assertRaises(WrongFactor):
            self.use(other, enrolled(one))

    def test_an_answer_names_its_credential(self) -> None:
        device = Authenticator()
        answer = device.get(request_options(PARTY, (), CHALLENGE, True))
        for bad in (
            "",
            "{}",
            changed(answer, lambda sent: sent.update(rawId="%")),
            changed(answer, lambda sent: sent.pop("rawId")),
        ):
            with self.assertRaises(WrongFactor):
                credential_of(bad)
        padded = changed(answer, lambda sent: sent.update(rawId=sent["rawId"] + "="))
        with self.assertRaises(WrongFactor):
            credential_of(padded)
        self.assertEqual(unb64(json.loads(answer)["rawId"]), device.credential)
