"""`perimeter status`: what is wrong comes first, in the whole and in each table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from twisted.trial.unittest import TestCase

from perimeter.cli import status
from perimeter.cli.main import main
from perimeter.cli.showing import lines
from perimeter.cli.site import Site
from perimeter.cli.table import columns, duration
from perimeter.errors import StartupError

NOW = 1_800_000_000.0


def answer(**more: Any) -> dict[str, Any]:
    """What a gateway without a problem answers."""
    return {
        "version": "1.0",
        "pid": 77,
        "uptime": 100,
        "config": "/etc/perimeter/site.ini",
        "sessions": 3,
        "listeners": [{"name": "https", "port": 443, "connections": 12}],
        "authenticators": [],
        "waiting": [],
        "problems": [],
        **more,
    }


class ShowingTests(TestCase):
    def test_without_a_problem(self) -> None:
        self.assertEqual(
            lines(answer(), NOW),
            [
                "perimeter 1.0, process 77, up for 1 min 40 s",
                "configuration /etc/perimeter/site.ini, not reloaded since the start",
                "requests: not counted, because there is neither a metrics listener nor an operator page",
                "sessions of browsers: 3",
                "",
                "LISTENER  PORT  CONNECTIONS",
                "https      443           12",
            ],
        )

    def test_requests_over_limits(self) -> None:
        several = [
            {"route": "app", "limit": "rate 5/s per user", "refused": 12},
            {"route": "files", "limit": "in_flight 1 per address", "refused": 0},
        ]
        self.assertEqual(
            lines(answer(limited=several), NOW)[-3:],
            [
                "LIMIT OF ROUTE  LIMIT                    REFUSED",
                "app             rate 5/s per user             12",
                "files           in_flight 1 per address        0",
            ],
        )

    def test_certificates_that_are_ordered(self) -> None:
        several = [
            {"names": ["gw.example", "www.example"], "listeners": ["https"], "renew": "2027-01-15T08:00:00Z", "fault": ""},
            {"names": ["x.example"], "listeners": ["a", "b"], "renew": "", "fault": ""},
            {"names": ["y.example"], "listeners": ["c"], "renew": "", "fault": "refused"},
        ]
        self.assertEqual(
            lines(answer(orders=several), NOW)[-4:],
            [
                "ORDERED FOR              LISTENER  STATE",
                "gw.example, www.example  https     renewed at 2027-01-15T08:00:00Z",
                "x.example                a, b      to be ordered",
                "y.example                c         failed",
            ],
        )

    def test_problems_come_first(self) -> None:
        problems = [
            {"subject": "audit", "name": "/log", "message": "full"},
            {"subject": "upstream", "name": "app", "message": "down"},
        ]
        shown = lines(answer(problems=problems), NOW)
        self.assertEqual(shown[:3], ["problem: audit /log: full", "problem: upstream app: down", ""])

    def table(self, first: str, **more: Any) -> list[str]:
        shown = lines(answer(**more), NOW)
        begin = next(at for at, line in enumerate(shown) if line.startswith(first))
        return shown[begin : [*shown, ""].index("", begin)]

    def worker(self, slot: int, **more: Any) -> dict[str, Any]:
        known = {"slot": slot, "pid": 70 + slot, "state": "serving", "connections": 5, "since": NOW - 90000, "restarts": 0}
        return {**known, "generation": 2, "slow": False, **more}

    def test_workers(self) -> None:
        workers = [
            self.worker(0),
            self.worker(1, slow=True, restarts=3, since=NOW - 5),
            self.worker(2, state="starting", since=0),
        ]
        self.assertEqual(
            self.table("WORKER", workers=workers),
            [
                "WORKER  STATE     PROCESS  CONNECTIONS  UP       RESTARTS  CONFIGURATION",
                "     1  slow           71            5  5 s             3              2",
                "     2  starting       72            5  -               0              2",
                "     0  serving        70            5  1 d 1 h         0              2",
            ],
        )

    def test_nodes(self) -> None:
        nodes = [
            {
                "name": "gw-1",
                "state": "serving",
                "version": "1.0.0",
                "configuration": "0123456789ab",
                "address": "10.0.0.1",
                "heard": 0.5,
                "clock": -0.002,
                "age": 3.0,
                "up": 90000,
            },
            {
                "name": "gw-2",
                "state": "silent",
                "version": "1.0.0",
                "configuration": "0123456789ab",
                "address": "",
                "heard": 12.25,
                "clock": 0.0,
                "age": 95.0,
                "up": 5,
            },
            {
                "name": "gw-3",
                "state": "unreadable",
                "version": "",
                "configuration": "",
                "address": "",
                **dict.fromkeys(("heard", "clock", "age", "up")),
            },
        ]
        redis = {"node": "gw-1", "primary": "10.0.0.9:6379", "version": "7.0.15", "problem": ""}
        self.assertEqual(
            self.table("NODE", nodes=nodes, redis=redis),
            [
                "NODE  STATE                  VERSION  CONFIGURATION  HEARD     CLOCK     ADDRESS   UP",
                "gw-2  silent for 1 min 35 s  1.0.0    0123456789ab   12.250 s  +0.000 s  -         5 s",
                "gw-3  unreadable             -        -              -         -         -         -",
                "gw-1  serving                1.0.0    0123456789ab   0.500 s   -0.002 s  10.0.0.1  1 d 1 h",
            ],
        )
        shown = lines(answer(nodes=nodes, redis=redis), NOW)
        self.assertEqual(shown[4], "state: Redis 7.0.15 at 10.0.0.9:6379; this is node gw-1")

    def test_redis_is_away(self) -> None:
        redis = {"node": "gw-1", "primary": "", "version": "", "problem": "Redis: it did not answer in time"}
        shown = lines(answer(nodes=[], redis=redis), NOW)
        self.assertEqual(shown[4:6], ["state: not connected (Redis: it did not answer in time); this is node gw-1", ""])
        self.assertTrue(shown[6].startswith("LISTENER"))

    def test_upstreams(self) -> None:
        def server(url: str, state: str, **more: Any) -> dict[str, Any]:
            return {"url": url, "state": state, "fault": "", "backup": False, "busy": 1, "idle": 2, **more}

        several = [
            server("http://a:1", "up"),
            server("http://c:1", "starting", backup=True),
            server("http://b:1", "down", fault="no", busy=0),
        ]
        self.assertEqual(
            self.table("UPSTREAM", upstreams=[{"name": "app", "waiting": 4, "servers": several}]),
            [
                "UPSTREAM  SERVER               STATE     BUSY  IDLE  WAITING  FAULT",
                "app       http://b:1           down         0     2        4  no",
                "app       http://a:1           up           1     2        4",
                "app       http://c:1 (backup)  starting     1     2        4",
            ],
        )

    def test_authenticators(self) -> None:
        def one(name: str, **more: Any) -> dict[str, Any]:
            return {"name": name, "type": "ldap", "realm": "corp", "down": False, "next_try": 0, "fault": "", **more}

        shown = self.table(
            "AUTHENTICATOR", authenticators=[one("a"), one("b", down=True, next_try=7), one("c", fault="no answer")]
        )
        self.assertEqual([line.split("  ")[0] for line in shown], ["AUTHENTICATOR", "b", "c", "a"])
        self.assertIn("down, next try in 7 s", shown[1])
        self.assertIn("cannot be used at the moment", shown[2])
        self.assertIn("in use", shown[3])

    def test_certificates(self) -> None:
        def one(name: str, days: int) -> dict[str, Any]:
            return {"listener": name, "days": days, "until": "2027-01-02T03:04:05Z", "subject": f"CN={name}", "source": "/a.crt"}

        self.assertEqual(
            self.table("CERTIFICATE", certificates=[one("b", 90), one("a", -3)]),
            [
                "CERTIFICATE OF  DAYS LEFT  UNTIL       NAME  FILE",
                "a                      -3  2027-01-02  CN=a  /a.crt",
                "b                      90  2027-01-02  CN=b  /a.crt",
            ],
        )

    def test_who_has_to_wait(self) -> None:
        waiting = [
            {"kind": "name", "value": "alice", "realm": "local", "wrong_passwords": 3, "seconds": 0},
            {"kind": "address", "value": "192.0.2.1", "realm": "", "wrong_passwords": 9, "seconds": 30},
        ]
        self.assertEqual(
            self.table("WRONG", waiting=waiting),
            [
                "WRONG PASSWORDS  OF       REALM  COUNT  STATE",
                "192.0.2.1        address  -          9  refused for 30 s",
                "alice            name     local      3  may try once more",
            ],
        )

    def test_requests_and_reloads(self) -> None:
        counted = answer(
            requests={"none": 1, "2xx": 40, "4xx": 0, "5xx": 9}, last_reload={"at": "2026-01-02T03:04:05Z", "refused": ""}
        )
        shown = lines(counted, NOW)
        self.assertIn("configuration /etc/perimeter/site.ini, last reload 2026-01-02T03:04:05Z, in force", shown)
        self.assertIn("requests: 50 (1 without an answer, 40 2xx, 9 5xx), 0.5 per second since the start", shown)
        refused = lines(answer(last_reload={"at": "x", "refused": "a fault"}), NOW)
        self.assertIn("configuration /etc/perimeter/site.ini, last reload x, refused", refused)

    def test_an_upgrade(self) -> None:
        self.assertIn("an upgrade is under way", lines(answer(upgrading=True, upgrade_fault=""), NOW))
        self.assertIn(
            "an upgrade is under way, and the new workers do not start: x", lines(answer(upgrading=True, upgrade_fault="x"), NOW)
        )
        self.assertEqual(lines(answer(upgrading=False, upgrade_fault=""), NOW), lines(answer(), NOW))

    def test_requests_per_second_between_two_answers(self) -> None:
        before = answer(requests={"2xx": 40}, uptime=90)
        after = answer(requests={"2xx": 65}, uptime=100)
        self.assertIn("requests: 65 (65 2xx), 2.5 per second now", lines(after, NOW, before))
        for other in (answer(requests={"2xx": 40}, uptime=90, pid=6), answer(requests={"2xx": 40}, uptime=100)):
            self.assertIn("requests: 65 (65 2xx), 0.7 per second since the start", lines(after, NOW, other))


class TableTests(TestCase):
    def test_columns(self) -> None:
        rows = [("NAME", "N", "X"), ("a", 10, "left"), ("longer", "-", ""), ("b", -1.5, "y")]
        self.assertEqual(columns(rows), ["NAME       N  X", "a         10  left", "longer     -", "b       -1.5  y"])

    def test_durations(self) -> None:
        for seconds, words in (
            (0, "0 s"),
            (59.9, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (90061, "1 d 1 h"),
            (86400, "1 d"),
            (86461, "1 d"),
        ):
            self.assertEqual(duration(seconds), words, seconds)


class CommandTests(TestCase):
    """The command, with the answers of a gateway given one after the other."""

    def run_command(self, *arguments: str, answers: list[Any]) -> Any:
        given: Iterator[Any] = iter(answers)

        def ask(self: Site, question: Any, long: bool = False) -> Any:
            one = next(given)
            if isinstance(one, BaseException):
                raise one
            return one

        self.patch(Site, "ask", ask)
        self.patch(status.time, "sleep", lambda seconds: None)
        return CliRunner().invoke(main, ["status", "--state-dir", str(Path("/nowhere")), *arguments], color=True)

    def test_the_status_is_1_if_there_is_a_problem(self) -> None:
        problem = [{"subject": "audit", "name": "/log", "message": "full"}]
        for problems, code in (([], 0), (problem, 1)):
            for arguments in ((), ("--json",)):
                self.assertEqual(self.run_command(*arguments, answers=[answer(problems=problems)]).exit_code, code)

    def test_problems_are_red_unless_there_is_no_color(self) -> None:
        problem = [{"subject": "audit", "name": "/log", "message": "full"}]
        self.assertIn("\x1b[31mproblem: audit", self.run_command(answers=[answer(problems=problem)]).output)
        self.patch(status.os, "environ", {**status.os.environ, "NO_COLOR": "1"})
        self.assertNotIn("\x1b[", self.run_command(answers=[answer(problems=problem)]).output)

    def test_names_cannot_control_the_terminal(self) -> None:
        waiting = [{"kind": "name", "value": "a\x1b[2Jb", "realm": "local", "wrong_passwords": 3, "seconds": 9}]
        self.assertNotIn("\x1b", self.run_command(answers=[answer(waiting=waiting)]).output)

    def test_watch_goes_on_while_no_gateway_runs(self) -> None:
        first = answer(requests={"2xx": 1}, uptime=1)
        then = answer(requests={"2xx": 4}, uptime=2)
        given = [first, then, StartupError("no gateway is running"), then, KeyboardInterrupt()]
        result = self.run_command("--watch", answers=given)
        self.assertEqual(result.exit_code, 0)
        self.assertIn("3.0 per second now", result.output)
        self.assertIn("problem: no gateway is running", result.output)
        self.assertEqual(result.output.count("LISTENER"), 3)

    def test_watch_as_json_is_a_line_each(self) -> None:
        result = self.run_command("--watch", "--json", answers=[answer(), StartupError("no gateway"), KeyboardInterrupt()])
        first, second = map(json.loads, result.output.splitlines())
        self.assertEqual(first, answer())
        self.assertEqual(second, {"problems": [{"message": "no gateway"}]})
