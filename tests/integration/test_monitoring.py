"""The files in etc/monitoring, with a real Prometheus that scrapes a running gateway: every query and every alert."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from tests.integration.harness import SEARCH, SOURCE, Gateway, GatewayCase, site
from tests.integration.ports import eventually, free_port
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import basic

MONITORING = SOURCE / "etc" / "monitoring"
SITE = """\
[listener figures]
port = @figures@
serve = metrics

[traces]
endpoint = http://127.0.0.1:{closed}/v1/traces
ratio = 1

[operator]
role = admin

[upstream service]
servers = {service}

[upstream away]
servers = http://127.0.0.1:{closed}

[upstream poor]
servers = {poor}, {poorer}
retries = 1
max_requests = 1
queue = 0

[upstream checked]
servers = {service}
health = GET / 200-399 every 1s

[route poor]
path = /poor
upstream = poor
auth = none

[route checked]
path = /checked
upstream = checked
auth = none

[route in]
path = /in
upstream = service

[route away]
path = /away
upstream = away
auth = none
"""


class PrometheusCase(GatewayCase):
    """Runs Prometheus, which scrapes ``target`` each second with the rules of etc/monitoring."""

    def prometheus(self, target: int) -> None:
        self.need("prometheus", "promtool")
        directory = self.directory()
        config = (MONITORING / "prometheus.yml").read_text()
        config = config.replace("127.0.0.1:9090", f"127.0.0.1:{target}").replace("15s", "1s")
        (directory / "prometheus.yml").write_text(config)
        (directory / "perimeter.rules.yml").write_text((MONITORING / "perimeter.rules.yml").read_text())
        self.port = free_port()
        log = (directory / "prometheus.log").open("wb")
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            cwd=directory,
            env={**os.environ, "PATH": SEARCH},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

        def end() -> None:
            process.kill()
            process.wait()

        self.addCleanup(end)

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)
        self.assertEqual(found["status"], "success")
        return found["data"]

    def query(self, expression: str) -> list[Any]:
        return self.ask("query", query=expression)["result"]  # type: ignore[no-any-return]

    def shows(self, expression: str) -> bool:
        """Whether there is a result, and each one is a number."""
        found = self.query(expression)
        return bool(found) and all(one["value"][1] != "NaN" for one in found)

    def value(self, expression: str) -> float:
        """The value of the only result; 0 if Prometheus is not ready."""
        try:
            found = self.query(expression)
        except OSError:
            return 0.0
        return float(found[0]["value"][1]) if found else 0.0


def _overloaded(connection: Connection) -> None:
    while True:
        connection.request()
        time.sleep(0.2)
        connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


def panels() -> Iterator[tuple[str, str]]:
    """Title and query of each panel of the dashboard, with values for the variables of Grafana."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


def alerts() -> list[tuple[str, str]]:
    """Name and expression of each alert."""
    text = (MONITORING / "perimeter.rules.yml").read_text()
    return re.findall(r"- alert: (\w+)\n\s+expr: (.*?)\n\s+(?:for|labels):", text, re.DOTALL)


class DashboardTests(PrometheusCase):
    FILES: ClassVar = {"users.realm": "alice: secret,admin\n"}

    def traffic(self, gateway: Gateway) -> None:
        alice = basic("alice", "secret")
        for target, lines, status in (
            ("/in", (alice,), 200),
            ("/in", (), 401),
            ("/in", (basic("alice", "wrong"),), 401),
            ("/away", (), 502),
            ("/checked", (), 200),
            ("/none", (), 404),
        ):
            with gateway.connect("https") as wire:
                self.assertEqual(wire.get(target, *lines).status, status)
        at_once = [gateway.connect("https") for _ in range(6)]
        for wire in at_once:
            wire.send(b"GET /poor HTTP/1.1\r\nHost: gw\r\n\r\n")
        for wire in at_once:
            self.assertEqual(wire.response("GET").status, 503)
            wire.close()

    def test_every_query_and_every_alert(self) -> None:
        self.need("prometheus", "promtool")
        poor, poorer = self.upstream(_overloaded), self.upstream(_overloaded)
        config = SITE.format(service=self.upstream(OK).url, closed=free_port(), poor=poor.url, poorer=poorer.url)
        gateway = self.gateway(site(config, tls=True, perimeter="workers = 2"), self.FILES)
        self.prometheus(gateway["figures"])
        self.traffic(gateway)
        eventually(lambda: self.value('count_over_time(up{job="perimeter"}[1m])') >= 2, "two scrapes", 30)
        self.traffic(gateway)
        titles = []
        for title, expression in panels():
            titles.append(title)
            eventually(lambda it=expression: self.shows(it), f"values in the panel {title}: {expression}")  # type: ignore[misc]
        self.assertGreater(len(titles), 30)
        for name, expression in alerts():
            for metric in re.findall(r"\b(?:perimeter|auth|process)_\w+|\bup\b", expression):
                self.assertTrue(self.query(metric), f"{name} reads {metric}, which is not there")

        def evaluated() -> bool:
            rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
            self.assertEqual([rule["name"] for rule in rules], [name for name, _ in alerts()])
            return all(rule["health"] == "ok" for rule in rules)

        eventually(evaluated, "the alerts without an error", 90)

    def test_a_gateway_that_is_away(self) -> None:
        self.prometheus(free_port())
        eventually(lambda: bool(self.value('count(up{job="perimeter"} == 0)')), "a scrape that failed", 30)


class FileTests(GatewayCase):
    def promtool(self, *arguments: str, directory: Path = MONITORING) -> subprocess.CompletedProcess[str]:
        self.need("promtool")
        return subprocess.run(
            ["promtool", *arguments],
            cwd=directory,
            env={**os.environ, "PATH": SEARCH},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def test_the_configuration_and_the_alerts_are_valid(self) -> None:
        for arguments in (("check", "config", "prometheus.yml"), ("check", "rules", "perimeter.rules.yml")):
            done = self.promtool(*arguments)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_alert_fires_when_it_should_and_not_before(self) -> None:
        done = self.promtool("test", "rules", "perimeter.rules.test.yml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_tests_of_the_alerts_find_each_other_condition(self) -> None:
        """Each alert, with its comparison turned round, fails."""
        tests = (MONITORING / "perimeter.rules.test.yml").read_text()
        rules = (MONITORING / "perimeter.rules.yml").read_text()
        directory = self.directory()
        (directory / "perimeter.rules.test.yml").write_text(tests)
        for name, expression in alerts():
            comparison = re.findall(r" (==|>|<) [0-9.]+", expression)[0]
            other = {"==": "!=", ">": "<", "<": ">"}[comparison]
            changed = rules.replace(expression, expression.replace(f" {comparison} ", f" {other} ", 1))
            self.assertNotEqual(changed, rules)
            (directory / "perimeter.rules.yml").write_text(changed)
            self.assertNotEqual(
                self.promtool("test", "rules", "perimeter.rules.test.yml", directory=directory).returncode, 0, name
            )
