"""Values of the options that limit clients."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.limiting import BODY_RATES, IN_FLIGHT, MOST, RATES, AtOnce, Per, Rate, Unit
from perimeter.errors import ConfigError
from tests.unit.doubles.site import SITE, SiteCase

HERE = Path()


class ValueTests(TestCase):
    def test_rates(self) -> None:
        for text, rate, seconds in (
            ("5/s per user", Rate(5, Unit.SECOND, Per.USER, 5), 1),
            ("5/s per user burst 20", Rate(5, Unit.SECOND, Per.USER, 20), 1),
            ("100 / m  per  address", Rate(100, Unit.MINUTE, Per.ADDRESS, 100), 60),
            ("1/h per route burst 1", Rate(1, Unit.HOUR, Per.ROUTE, 1), 3600),
            (f"{MOST}/d per route burst {MOST}", Rate(MOST, Unit.DAY, Per.ROUTE, MOST), 86400),
        ):
            assert RATES.item is not None
            found = RATES.item.convert(text, HERE)
            self.assertEqual((found, found.seconds), (rate, seconds), text)
            self.assertEqual(RATES.item.convert(str(found), HERE), found)

    def test_rates_in_words(self) -> None:
        self.assertEqual(str(Rate(5, Unit.SECOND, Per.USER, 5)), "5/s per user")
        self.assertEqual(str(Rate(5, Unit.SECOND, Per.USER, 20)), "5/s per user burst 20")
        self.assertEqual(Rate(5, Unit.SECOND, Per.USER, 20).name, "5/s per user")

    def test_rates_that_are_refused(self) -> None:
        assert RATES.item is not None
        for text in (
            "5",
            "5/s",
            "5 per user",
            "0/s per user",
            "-5/s per user",
            "5.5/s per user",
            f"{MOST + 1}/s per user",
            "5/x per user",
            "5/sec per user",
            "5/s per users",
            "5/s per user burst",
            "5/s per user burst 0",
            "5/s per user burst x",
            "5/s burst 5 per user",
            "5KiB/s per user",
            "5/s per user, and more",
        ):
            self.assertRaises(BadValue, RATES.item.convert, text, HERE)

    def test_the_whole_value_is_suggested(self) -> None:
        for kind, text, suggestion in (
            (RATES, "5/s per usr burst 9", "5/s per user burst 9"),
            (IN_FLIGHT, "10 per adress", "10 per address"),
            (IN_FLIGHT, "10 per x", ""),
        ):
            assert kind.item is not None
            with self.assertRaises(BadValue) as caught:
                kind.item.convert(text, HERE)
            self.assertEqual(caught.exception.suggestion, suggestion)

    def test_rates_of_bodies(self) -> None:
        assert BODY_RATES.item is not None
        rate = BODY_RATES.item.convert("1MiB/s per user burst 4MiB", HERE)
        self.assertEqual(rate, Rate(2**20, Unit.SECOND, Per.USER, 2**22))
        self.assertEqual(rate.name, "1MiB/s per user")
        self.assertEqual(BODY_RATES.item.convert("1.5 KiB/m per route", HERE), Rate(1536, Unit.MINUTE, Per.ROUTE, 1536))
        for text in ("1MiB/s", "MiB/s per user", "0/s per user", "1Mib/x per user"):
            self.assertRaises(BadValue, BODY_RATES.item.convert, text, HERE)

    def test_requests_at_a_time(self) -> None:
        assert IN_FLIGHT.item is not None
        self.assertEqual(IN_FLIGHT.item.convert("10 per user", HERE), AtOnce(10, Per.USER))
        self.assertEqual(str(IN_FLIGHT.item.convert("1  per  address", HERE)), "1 per address")
        for text in ("10", "0 per user", "10 per realm", "per user", f"{MOST + 1} per user", "10/s per user"):
            self.assertRaises(BadValue, IN_FLIGHT.item.convert, text, HERE)


class OptionTests(SiteCase):
    def route(self, lines: str) -> str:
        return SITE.replace("[audit]", f"{lines}\n\n[audit]")

    def test_all_limits_of_a_route(self) -> None:
        (route,) = self.load(
            self.route(
                "rate =\n    5/s per user burst 20\n    100/m per address\nin_flight = 10 per user, 50 per route\n"
                "body_rate = 1MiB/s per user\nrequest_timeout = 30s"
            )
        ).routes
        self.assertEqual(
            route.limits_in_words,
            (
                "rate 5/s per user burst 20",
                "rate 100/m per address",
                "in_flight 10 per user",
                "in_flight 50 per route",
                "body_rate 1MiB/s per user",
                "request_timeout 30s",
            ),
        )

    def test_a_route_has_no_limits_by_default(self) -> None:
        (route,) = self.load(SITE).routes
        self.assertEqual(route.limits_in_words, ())

    def test_two_limits_for_the_same(self) -> None:
        for lines in (
            "rate = 5/s per user, 6/s per user",
            "in_flight = 1 per user, 2 per user",
            "body_rate = 1/s per user, 2/s per user",
        ):
            self.assertRaises(ConfigError, self.load, self.route(lines))
        self.load(self.route("rate = 5/s per user, 100/h per user, 5/s per address"))

    def test_fair_needs_max_requests(self) -> None:
        text = SITE.replace("servers = http://127.0.0.1:8888", "servers = http://127.0.0.1:8888\nfair = yes")
        self.assertRaises(ConfigError, self.load, text)
        (upstream,) = self.load(text.replace("fair", "max_requests = 4\nfair")).upstreams
        self.assertTrue(upstream.fair)
