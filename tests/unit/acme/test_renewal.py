from __future__ import annotations

import fcntl
import os
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial import unittest

from perimeter.acme.fault import AcmeFault
from perimeter.acme.pending import Proof
from perimeter.acme.record import Record, read_record, write_record
from perimeter.acme.renewal import Means, Wanted, account_key, attend, checked, due
from perimeter.config.site.acme import AcmeSettings
from perimeter.net.contexts import dns_names
from perimeter.net.keystores import load_chain, load_key
from tests.unit.doubles.ca import CertificateAuthority

NAMES = ("gw.example.com", "www.example.com")
DAY = 86400.0


class RenewalCase(unittest.TestCase):
    def setUp(self) -> None:
        self.ca = CertificateAuthority()
        self.state = Path(self.mktemp())
        self.state.mkdir()
        self.one = self.wanted()
        self.shown: list[list[Proof]] = []
        self.share = 0.0

    def wanted(self, *names: str, **settings: Any) -> Wanted:
        options = {"directory": "https://ca.example/dir", "terms_agreed": True, **settings}
        return Wanted(names or NAMES, self.state / "acme" / "gw.example.com.pem", AcmeSettings(**options))

    def attend(self, one: Wanted | None = None) -> Record | None:
        means = Means(self.ca.connect, self.ca.seconds, lambda: self.share)
        return attend(one or self.one, lambda proofs: self.shown.append(list(proofs)), means)

    def done(self, one: Wanted | None = None) -> Record:
        record = self.attend(one)
        assert record is not None
        return record

    def leaf(self) -> x509.Certificate:
        return load_chain(self.one.path)[0]

    def later(self, **time: float) -> None:
        self.ca.now += timedelta(**time)


class OrderTests(RenewalCase):
    def test_first_certificate(self) -> None:
        record = self.done()
        self.assertEqual(self.ca.orders, [(NAMES, "")])
        self.assertEqual(dns_names(self.leaf()), NAMES)
        self.assertEqual(load_key(self.one.path, None).public_key(), self.leaf().public_key())
        now = self.ca.seconds()
        self.assertEqual(record, Record("https://ca.example/dir", now, now + 60 * DAY, now + 21600.0))
        self.assertEqual(read_record(self.one.record), record)
        self.assertEqual([len(proofs) for proofs in self.shown], [2, 0])

    def test_attack_149_files_are_for_the_gateway_alone(self) -> None:
        before = os.umask(0)
        try:
            self.attend()
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(self.one.path.parent.stat().st_mode), 0o700)
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.one.path.parent.iterdir()}
        self.assertEqual(len(files), 4)
        self.assertEqual(set(files.values()), {0o600}, files)

    def test_nothing_to_do(self) -> None:
        self.done()
        self.assertIsNone(self.attend())
        self.assertEqual((len(self.ca.orders), self.ca.questions), (1, 1))

    def test_one_process_orders(self) -> None:
        self.done()
        self.one.path.unlink()
        with (self.one.path.parent / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.assertIsNone(self.attend())
        self.assertIsNotNone(self.attend())

    def test_renewed_when_its_time_has_come(self) -> None:
        first = self.done()
        old = self.leaf()
        self.ca.now += timedelta(seconds=first.renew_at - self.ca.seconds() - 1)
        self.attend()
        self.assertEqual(len(self.ca.orders), 1)
        self.later(seconds=1)
        second = self.done()
        self.assertEqual(len(self.ca.orders), 2)
        self.assertNotEqual(self.ca.orders[1][1], "", "it says which certificate it replaces")
        self.assertNotEqual(self.leaf().public_key(), old.public_key(), "a new key")
        self.assertEqual(second.renew_at, self.ca.seconds() + 60 * DAY)
        self.assertEqual(len(self.ca.keys), 1, "the same account")

    def test_other_names_or_another_ca_are_ordered_at_once(self) -> None:
        self.done()
        other = self.wanted("gw.example.com", "new.example.com")
        self.done(other)
        self.assertEqual(dns_names(self.leaf()), other.names)
        elsewhere = self.wanted("new.example.com", "gw.example.com", directory="https://other.example/dir")
        self.done(elsewhere)
        self.assertEqual(self.ca.orders[2], (elsewhere.names, ""), "the other CA does not know what is replaced")
        self.assertEqual(len(self.ca.keys), 2, "an account for each CA")
        self.assertIsNone(self.attend(elsewhere))

    def test_damaged_certificate_is_ordered_again(self) -> None:
        self.done()
        self.one.path.write_text("rubbish")
        self.done()
        self.assertEqual(dns_names(self.leaf()), NAMES)


class SuggestionTests(RenewalCase):
    def test_suggestion_of_the_ca(self) -> None:
        self.ca.suggested = self.ca.seconds() + 10 * DAY
        self.assertEqual(self.done().renew_at, self.ca.suggested)

    def test_asked_again_when_the_ca_wants_that(self) -> None:
        self.done()
        self.later(seconds=21599)
        self.assertIsNone(self.attend())
        self.later(seconds=1)
        self.ca.suggested = self.ca.seconds() + 5 * DAY
        record = self.done()
        self.assertEqual((record.renew_at, record.ask_at), (self.ca.suggested, self.ca.seconds() + 21600))
        self.assertEqual(len(self.ca.orders), 1)

    def test_suggestion_in_the_past_renews_at_once(self) -> None:
        self.done()
        self.later(hours=6)
        self.ca.suggested = self.ca.seconds() - 1
        self.done()
        self.assertEqual(len(self.ca.orders), 2)

    def test_attack_148_suggestions_that_never_end(self) -> None:
        self.ca.suggested, self.ca.wait = 1.0, 0.0
        for _ in range(24 * 6):
            self.attend()
            self.later(minutes=10)
        self.assertEqual(len(self.ca.orders), 24, "one an hour")

    def test_ca_that_cannot_be_asked_changes_nothing(self) -> None:
        first = self.done()
        self.later(hours=6)
        self.ca.unreachable = "no connection"
        record = self.done()
        self.assertEqual((record.renew_at, record.failures, record.ask_at), (first.renew_at, 0, self.ca.seconds() + 21600))


class FailureTests(RenewalCase):
    def test_failure_is_recorded_and_the_next_try_is_later(self) -> None:
        self.ca.fault, self.share = "refused", 1.0
        record = self.done()
        self.assertEqual((record.failures, record.fault, record.try_at), (1, "refused", self.ca.seconds() + 66))
        self.assertFalse(self.one.path.exists())
        self.later(seconds=65)
        self.assertIsNone(self.attend())
        self.later(seconds=1)
        self.assertEqual(self.done().failures, 2)
        self.ca.fault = ""
        self.later(hours=1)
        self.assertEqual(self.done().failures, 0)

    def test_other_settings_are_tried_at_once(self) -> None:
        self.ca.fault = "refused"
        for one in (
            self.one,
            self.wanted("gw.example.com"),
            self.wanted(challenge="tls-alpn-01"),
            self.wanted(eab_key_id="kid", eab_key="c2VjcmV0"),
            self.wanted(eab_key_id="kid", eab_key="b3RoZXI"),
            self.wanted(ca_certificate=Path("/ca.pem")),
        ):
            self.assertEqual(self.done(one).failures, 1)
            self.assertIsNone(self.attend(one))
        self.assertNotIn("c2VjcmV0", self.one.record.read_text())

    def test_old_certificate_stays_after_a_failed_renewal(self) -> None:
        self.done()
        old = self.one.path.read_bytes()
        self.later(days=61)
        for way in ("fault", "unreachable"):
            setattr(self.ca, way, "it failed")
            record = self.done()
            self.assertEqual(record.fault, "it failed")
            self.assertEqual(self.one.path.read_bytes(), old)
            setattr(self.ca, way, "")
            self.later(days=1)

    def test_pause_that_the_ca_asks_for(self) -> None:
        self.ca.fault, self.ca.pause = "too many", 7200.0
        self.assertEqual(self.done().try_at, self.ca.seconds() + 7200)

    def test_order_that_does_not_end_is_not_repeated_at_once(self) -> None:
        class Killed(BaseException):
            pass

        def kill(issued: bytes) -> bytes:
            raise Killed

        self.ca.spoil = kill
        self.assertRaises(Killed, self.attend)
        self.assertIsNone(self.attend())
        record = read_record(self.one.record)
        self.assertEqual((record.failures, record.fault), (1, ""))

    def test_no_order_if_nothing_can_be_stored(self) -> None:
        self.one.path.parent.write_text("a file in the way")
        with self.assertRaises(AcmeFault):
            self.attend()
        self.assertEqual(self.ca.orders, [])

    def test_attack_148_what_was_not_ordered_is_not_used(self) -> None:
        self.done()
        old = self.one.path.read_bytes()
        self.later(days=61)
        key = ec.generate_private_key(ec.SECP256R1())
        for issued, fault in (
            (b"", "not a certificate"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate"),
            (self.ca.issue(key.public_key(), NAMES), "for another key"),
        ):
            self.ca.spoil = lambda _, issued=issued: issued
            self.assertIn(fault, self.done().fault)
            self.assertEqual(self.one.path.read_bytes(), old)
            self.later(days=1)

    def test_checked_chain(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self.ca.seconds()
        chain = self.ca.issue(key.public_key(), NAMES)
        self.assertEqual(dns_names(checked(chain, key, ("www.example.com", "gw.example.com"), now)), NAMES)
        end = now + 90 * DAY
        for at, good in ((now - 1, False), (now, True), (end - 1, True), (end, False)):
            if good:
                checked(chain, key, NAMES, at)
            else:
                self.assertIn("the clock", str(self.assertRaises(AcmeFault, checked, chain, key, NAMES, at)))
        for names in (NAMES[:1], (*NAMES, "more.example.com")):
            self.assertIn("other names", str(self.assertRaises(AcmeFault, checked, chain, key, names, now)))


class DueTests(RenewalCase):
    def test_due(self) -> None:
        record = self.done()
        leaf = self.leaf()
        now = record.renew_at
        self.assertTrue(due(self.one, record, None, 0.0))
        self.assertFalse(due(self.one, record, leaf, now - 1))
        self.assertTrue(due(self.one, record, leaf, now))
        self.assertTrue(due(self.one, Record(), leaf, 0.0))
        self.assertTrue(due(self.wanted("gw.example.com"), record, leaf, 0.0))
        self.assertFalse(due(self.wanted(*reversed(NAMES)), record, leaf, 0.0))

    def test_key_of_the_account(self) -> None:
        path = self.state / "account.key"
        made = account_key(path)
        self.assertEqual(account_key(path).private_numbers(), made.private_numbers())
        for text in ("rubbish", rsa_key()):
            path.write_text(text)
            self.assertRaises(AcmeFault, account_key, path)

    def test_certificate_without_its_key_is_none(self) -> None:
        self.done()
        self.one.path.write_bytes(self.leaf().public_bytes(Encoding.PEM))
        write_record(self.one.record, read_record(self.one.record))
        self.done()
        self.assertEqual(len(self.ca.orders), 2)


def rsa_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
