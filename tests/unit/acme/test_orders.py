from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial import unittest

from perimeter.acme.orders import Order, orders
from perimeter.acme.record import Record, write_record

GOOD = Record("https://ca.example/dir", 1.0, 1_800_000_000.0, 2.0)
BAD = Record(failures=2, fault="refused", try_at=1_800_000_000.0)


class OrdersTests(unittest.TestCase):
    def test_certificates_of_a_configuration(self) -> None:
        state = Path(self.mktemp())
        (state / "acme").mkdir(parents=True)
        listeners = [
            SimpleNamespace(name=name, acme_names=names)
            for name, names in (
                ("a", ("gw.example", "www.example")),
                ("b", ()),
                ("c", ("gw.example", "www.example")),
                ("d", ("x.example",)),
            )
        ]
        config: Any = SimpleNamespace(listeners=listeners, perimeter=SimpleNamespace(state_dir=state))
        first, second = orders(config)
        self.assertEqual(
            (first.listeners, first.names, first.there, first.record),
            (("a", "c"), ("gw.example", "www.example"), False, Record()),
        )
        self.assertEqual(second.listeners, ("d",))
        write_record(state / "acme" / "x.example.json", GOOD)
        (state / "acme" / "x.example.pem").write_text("")
        self.assertEqual((orders(config)[1].there, orders(config)[1].record), (True, GOOD))

    def order(self, record: Record, there: bool = True) -> Order:
        return Order(("https",), ("gw.example", "www.example"), Path("x.pem"), record, there)

    def test_words(self) -> None:
        for record, there, text in (
            (GOOD, True, "to be renewed at 2027-01-15 08:00:00 UTC"),
            (Record(), False, "to be ordered"),
            (Record(), True, "to be ordered"),
            (GOOD, False, "to be ordered"),
            (BAD, True, "it was not renewed: refused; the next try is at 2027-01-15 08:00:00 UTC"),
            (BAD, False, "there is no certificate from the CA yet: refused; the next try is at 2027-01-15 08:00:00 UTC"),
            (Record(failures=1), False, "to be ordered"),
        ):
            self.assertEqual(self.order(record, there).text, f"certificate of gw.example, www.example (listener https): {text}")

    def test_members(self) -> None:
        good = {"listeners": ["https"], "names": ["gw.example", "www.example"], "renew": "2027-01-15T08:00:00Z", "fault": ""}
        self.assertEqual(self.order(GOOD).members, good)
        self.assertEqual(self.order(GOOD, there=False).members, {**good, "renew": ""})
