"""Addresses that a name has: which are used, for how long, and what resolv.conf says about the question."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import TestCase

from perimeter.config.site.lookup import NameServer
from perimeter.net.addresses import MOST_ADDRESSES, Answer, LookupFailed, Questions, answer, read_questions, refusal


class AnswerTests(TestCase):
    def of(self, *texts: str, missing: int = 0) -> Answer:
        return answer([(ip_address(text), 60.0) for text in texts], missing)

    def test_sorted_and_once(self) -> None:
        found = self.of("2001:db8::1", "10.0.0.10", "10.0.0.9", "10.0.0.9")
        self.assertEqual(found, Answer(("10.0.0.9", "10.0.0.10", "2001:db8::1"), 60.0))
        self.assertEqual(self.of("10.0.0.1", missing=6).missing, 6)

    def test_the_shortest_time_counts(self) -> None:
        times = [("10.0.0.1", 30.0), ("10.0.0.2", 20.0), ("10.0.0.1", 25.0), ("169.254.1.1", 1.0)]
        self.assertEqual(answer([(ip_address(text), ttl) for text, ttl in times]).ttl, 20.0)

    def test_addresses_that_are_not_used(self) -> None:
        for text, reason in (
            ("169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "no address of a host"),
            ("::", "no address of a host"),
            ("255.255.255.255", "no address of a host"),
            ("10.0.0.1", ""),
            ("127.0.0.1", ""),
            ("::1", ""),
            ("192.0.2.1", ""),
            ("2001:db8::1", ""),
            ("::ffff:10.0.0.1", ""),
        ):
            self.assertEqual(refusal(ip_address(text)), reason, text)

    def test_they_are_named(self) -> None:
        found = self.of("10.0.0.1", "169.254.169.254")
        self.assertEqual((found.addresses, found.refused), (("10.0.0.1",), ("169.254.169.254 (link-local)",)))
        error = self.assertRaises(LookupFailed, self.of, "169.254.169.254")
        self.assertEqual(str(error), "none of its addresses may be used: 169.254.169.254 (link-local)")
        self.assertEqual(str(self.assertRaises(LookupFailed, self.of)), "it has no address")

    def test_their_number_is_bounded(self) -> None:
        found = self.of(*(f"10.0.{at // 250}.{at % 250 + 1}" for at in range(1000)))
        self.assertEqual(len(found.addresses), MOST_ADDRESSES)
        refused = self.of("10.0.0.1", *(f"169.254.0.{at}" for at in range(1, 100)))
        self.assertEqual(len(refused.refused), 3)


class QuestionTests(TestCase):
    def test_resolv_conf(self) -> None:
        text = (
            "# a comment\nnameserver 10.0.0.2\n\nnameserver localhost\nnameserver 2001:db8::2\nnameserver\n"
            "domain old.example\nsearch a.example. b.example\noptions timeout:1 ndots:5 ndots:x\n"
        )
        self.assertEqual(
            read_questions(text), Questions((NameServer("10.0.0.2"), NameServer("2001:db8::2")), ("a.example", "b.example"), 5)
        )
        self.assertEqual(read_questions(""), Questions())
        self.assertEqual(read_questions("search\n options ndots:99"), Questions(ndots=15))
        self.assertEqual(len(read_questions("search a b c d e f g h").suffixes), 6)

    def test_names_to_ask_for(self) -> None:
        """resolv.conf(5): a name with ``ndots`` dots is asked for as it is first, any other one last."""
        self.assertEqual(Questions().names("app"), ["app"])
        kube = Questions(suffixes=("ns.svc.cluster.local", "svc.cluster.local"), ndots=2)
        self.assertEqual(kube.names("app"), ["app.ns.svc.cluster.local", "app.svc.cluster.local", "app"])
        self.assertEqual(kube.names("app.ns")[-1], "app.ns")
        self.assertEqual(kube.names("app.ns.svc")[0], "app.ns.svc")
