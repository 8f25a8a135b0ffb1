"""Several servers of a service: balancing, checks, limits, retries, and names that the gateway looks up, with real servers."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port
from tests.integration.test_operator import Ran
from tests.integration.upstreams import OK, Connection, Process

FIGURES = "[listener figures]\nport = @figures@\nserve = metrics\n"

ROUTE = "[route all]\npath = /\nupstream = app\nauth = none\n"

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"


def upstream(servers: str, options: str = "") -> str:
    return f"[upstream app]\nservers = {servers}\nconnect_timeout = 2s\n{options}\n{ROUTE}"


class DnsServer(Process):
    """`tests.integration.dns_server`, with the names of ``zone``."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.zone = directory / "zone.json"
        self.names: dict[str, Any] = {}
        self._write()
        script = Path(__file__).with_name("dns_server.py")
        super().__init__([sys.executable, str(script), str(self.port), str(self.zone)], directory / "dns.log")
        self._await_port()

    def say(self, name: str, *addresses: str, ttl: int = 0, fault: bool = False) -> None:
        """``name`` has these addresses from now on."""
        self.names[name] = {"addresses": addresses, "ttl": ttl, "fault": fault}
        self._write()

    def _write(self) -> None:
        new = self.zone.with_suffix(".new")
        new.write_text(json.dumps(self.names))
        new.rename(self.zone)


class Several(Process):
    """One nginx that listens on one port of several addresses, and answers with the address."""

    def __init__(self, directory: Path, addresses: tuple[str, ...], tls: str = "") -> None:
        self.port = free_port()
        servers = "".join(
            f"server {{ listen {address}:{self.port}{' ssl' if tls else ''}; {tls} return 200 '{address}'; }}\n"
            for address in addresses
        )
        config = directory / "nginx.conf"
        config.write_text(f"""
            daemon off;
            {"user root;" if os.getuid() == 0 else ""}
            worker_processes 1;
            pid {directory}/nginx.pid;
            error_log stderr;
            events {{}}
            http {{ access_log off; {servers} }}
        """)
        super().__init__(["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "nginx.log")
        self._await_port()


class UpstreamCase(GatewayCase):
    def running(
        self, servers: str, options: str = "", perimeter: str = "", files: dict[str, str | bytes] | None = None
    ) -> Gateway:
        self.served = self.gateway(
            site(upstream(servers, options), extra=FIGURES, perimeter=perimeter), {**USERS, **(files or {})}
        )
        return self.served

    def get(self, target: str = "/", *headers: str, method: str = "GET") -> tuple[int, str]:
        with self.served.connect("http") as wire:
            response = wire.get(target, *headers, method=method)
        return response.status, response.text

    def bodies(self, count: int) -> Counter[str]:
        """The bodies of ``count`` responses, which all have to be good."""
        found: Counter[str] = Counter()
        for _ in range(count):
            status, body = self.get()
            self.assertEqual(status, 200, body)
            found[body] += 1
        return found

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(Ran("status", "--json", "--config", str(self.served.config)).output)
        return answer

    def states(self) -> dict[str, str]:
        (app,) = self.status()["upstreams"]
        return {one["url"]: one["state"] for one in app["servers"]}

    def await_states(self, *states: str) -> None:
        eventually(lambda: tuple(self.states().values()) == states, f"{states}; the log:\n{self.served.log}", 20)

    def figure(self, name: str) -> list[str]:
        with self.served.connect("figures") as wire:
            lines = wire.get("/metrics").text.splitlines()
        return [line for line in lines if line.startswith(name)]


class LookupTests(UpstreamCase):
    def dns(self) -> DnsServer:
        server = DnsServer(self.directory())
        self.addCleanup(server.close)
        return server

    def several(self, *addresses: str, tls: str = "") -> Several:
        self.need("nginx")
        server = Several(self.directory(), addresses, tls)
        self.addCleanup(server.close)
        return server

    def options(self, dns: DnsServer, more: str = "") -> str:
        return f"resolve = dns\nnameservers = 127.0.0.1:{dns.port}\nttl_min = 300ms\n{more}"

    def test_all_addresses_are_used_and_changes_are_followed(self) -> None:
        dns = self.dns()
        dns.say("app.example", "127.0.0.1", "127.0.0.2", "::1")
        several = self.several("127.0.0.1", "127.0.0.2", "127.0.0.3", "[::1]")
        gateway = self.running(f"http://app.example:{several.port}", self.options(dns))
        gateway.await_log("app.example has the addresses 127.0.0.1, 127.0.0.2, ::1")
        self.assertEqual(self.bodies(9), {"127.0.0.1": 3, "127.0.0.2": 3, "[::1]": 3})
        dns.say("app.example", "127.0.0.3")
        gateway.await_log("app.example has the addresses 127.0.0.3\n")
        self.assertEqual(self.bodies(3), {"127.0.0.3": 3})
        self.assertEqual(self.states(), {f"http://app.example:{several.port} (127.0.0.3)": "up"})
        self.assertEqual(len(self.figure("perimeter_upstream_server_up{")), 1)

    def test_the_last_addresses_stay_when_the_dns_server_fails_or_does_not_answer(self) -> None:
        dns = self.dns()
        dns.say("app.example", "127.0.0.2")
        several = self.several("127.0.0.1", "127.0.0.2")
        gateway = self.running(f"http://app.example:{several.port}", self.options(dns))
        gateway.await_log("has the addresses 127.0.0.2")
        dns.say("app.example", fault=True)
        gateway.await_log("app.example cannot be looked up: the DNS server has failed; its last addresses stay in use: 127.0.0.2")
        self.assertEqual(self.bodies(3), {"127.0.0.2": 3})
        problems = [one["message"] for one in self.status()["problems"]]
        self.assertEqual(problems, ["app.example cannot be looked up: the DNS server has failed"])
        dns.say("app.example")
        gateway.await_log("cannot be looked up: it has no address")
        dns.names.clear()
        dns._write()
        gateway.await_log("cannot be looked up: the name does not exist")
        self.assertEqual(self.bodies(3), {"127.0.0.2": 3})
        dns.say("app.example", "127.0.0.1", "127.0.0.2")
        gateway.await_log("has the addresses 127.0.0.1, 127.0.0.2")
        self.assertEqual(self.status()["problems"], [])
        dns.close()
        gateway.await_log("cannot be looked up: no answer of the DNS servers", 30)
        self.assertEqual(self.bodies(2), {"127.0.0.1": 1, "127.0.0.2": 1})
        self.assertTrue(self.figure('perimeter_upstream_lookups_total{host="app.example",result="failed"'))

    def test_without_a_first_answer_the_system_is_asked(self) -> None:
        dns = self.dns()
        several = self.several("127.0.0.1")
        gateway = self.running(f"http://localhost.localdomain.invalid:{several.port}", self.options(dns))
        gateway.await_log("the name does not exist; the resolver of the system is used")
        self.assertEqual(self.get()[0], 502)

    def test_addresses_of_the_metadata_service_are_not_used(self) -> None:
        dns = self.dns()
        dns.say("app.example", "127.0.0.1", "169.254.169.254", "fe80::1")
        several = self.several("127.0.0.1")
        gateway = self.running(f"http://app.example:{several.port}", self.options(dns))
        gateway.await_log("addresses of app.example are not used: 169.254.169.254 (link-local), fe80::1 (link-local)")
        self.assertEqual(self.bodies(4), {"127.0.0.1": 4})

    def test_a_name_that_is_the_gateway_itself(self) -> None:
        dns = self.dns()
        dns.say("app.example", "127.0.0.1")
        port = free_port()
        self.served = self.unstarted(
            site(upstream(f"http://app.example:{port}", self.options(dns)), extra=FIGURES).replace("@http@", str(port)), USERS
        )
        self.served.ports["http"] = port
        self.served.start()
        self.served.await_log("has the addresses 127.0.0.1")
        self.assertEqual(self.get()[0], 508)

    def test_https_verifies_the_name(self) -> None:
        ca = identity("CA", ca=True, common="CA")
        dns = self.dns()
        for name in ("app.example", "other.example"):
            dns.say(name, "127.0.0.1", "127.0.0.2")
        own = identity("app.example", issuer=ca)
        directory = self.directory()
        (directory / "cert.pem").write_bytes(pem(*own.chain))
        (directory / "key.pem").write_bytes(own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        tls = f"ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;"
        several = self.several("127.0.0.1", "127.0.0.2", tls=tls)
        files: dict[str, str | bytes] = {"ca.pem": pem(ca.chain[0])}
        options = self.options(dns, "ca_certificate = ca.pem\n")
        gateway = self.running(f"https://app.example:{several.port}", options, files=files)
        gateway.await_log("has the addresses 127.0.0.1, 127.0.0.2")
        self.assertEqual(self.bodies(4), {"127.0.0.1": 2, "127.0.0.2": 2})
        gateway = self.running(f"https://other.example:{several.port}", options, files=files)
        gateway.await_log("has the addresses 127.0.0.1, 127.0.0.2")
        self.assertEqual(self.get()[0], 502)


class HealthTests(UpstreamCase):
    CHECK = "health = GET /health 200 every 200ms within 100ms\nhealth_fall = 2\nhealth_rise = 2\n"

    def test_a_server_that_does_not_pass_gets_no_requests(self) -> None:
        servers = [self.nginx({"health": b"", "name": name}) for name in (b"one", b"two")]
        gateway = self.running(", ".join(one.url for one in servers), self.CHECK)

        def names(count: int) -> Counter[str]:
            found = [self.get("/name") for _ in range(count)]
            self.assertEqual({status for status, _ in found}, {200})
            return Counter(body for _, body in found)

        self.assertEqual(names(4), {"one": 2, "two": 2})
        (servers[0].root / "health").unlink()
        gateway.await_log(f"server {servers[0].url} is down: it answered 404 to GET /health")
        self.assertEqual(names(4), {"two": 4})
        self.assertIn(
            f"upstream app: {servers[0].url}: it does not pass its checks: it answered 404 to GET /health",
            Ran("status", "--config", str(gateway.config)).output,
        )
        gateway.reload()
        self.assertEqual(self.states()[servers[0].url], "down", "a reload does not forget")
        self.assertEqual(names(4), {"two": 4})
        (servers[1].root / "health").unlink()
        gateway.await_log(f"server {servers[1].url} is down")
        with gateway.connect("http") as wire:
            response = wire.get("/name", "Accept: application/json")
        self.assertEqual((response.status, json.loads(response.text)["error"]), (503, "upstream_down"))
        (servers[0].root / "health").write_bytes(b"")
        gateway.await_log(f"server {servers[0].url} is up")
        self.assertEqual(names(2), {"one": 2})
        changes = self.figure("perimeter_upstream_server_changes_total")
        self.assertEqual(sorted(line.rpartition(" ")[2] for line in changes), ["1.0", "1.0", "1.0"])

    def test_a_server_that_is_stopped(self) -> None:
        """SIGSTOP: the kernel still accepts connections, and nothing answers."""
        servers = [self.echo() for _ in range(2)]
        gateway = self.running(", ".join(one.url for one in servers), self.CHECK.replace("/health 200", "/ 200-499"))
        self.assertEqual(Counter(status for status, _ in (self.get() for _ in range(4))), {200: 4})
        stopped = servers[0]._process
        stopped.send_signal(signal.SIGSTOP)
        try:
            gateway.await_log(f"server {servers[0].url} is down: no answer to GET / within 0.1 s")
            began = time.monotonic()
            self.assertEqual(Counter(status for status, _ in (self.get() for _ in range(6))), {200: 6})
            self.assertLess(time.monotonic() - began, 3)
        finally:
            stopped.send_signal(signal.SIGCONT)
        gateway.await_log(f"server {servers[0].url} is up")

    def test_several_workers_send_the_checks_once_and_all_know_the_results(self) -> None:
        sick = threading.Event()

        def serve(connection: Connection) -> None:
            while True:
                request = connection.request()
                checks.append(time.monotonic()) if "/health" in request.line else None
                connection.send(BUSY if sick.is_set() and "/health" in request.line else OK)

        checks: list[float] = []
        servers = [self.upstream(serve), self.upstream(OK)]
        gateway = self.running(
            ", ".join(one.url for one in servers), self.CHECK.replace("200ms", "500ms"), perimeter="workers = 2\n"
        )
        eventually(lambda: len(checks) >= 3, "some checks")
        before, began = len(checks), time.monotonic()
        time.sleep(3)
        most = (time.monotonic() - began) / 0.5 + 1
        self.assertLessEqual(len(checks) - before, most, "one worker sends them")
        sick.set()
        eventually(
            lambda: gateway.log.count(f"server {servers[0].url} is down: it answered 503 to GET /health") == 2,
            f"both workers know:\n{gateway.log}",
        )
        before = len(servers[0].raw)
        for _ in range(12):
            self.assertEqual(self.get()[0], 200)
        self.assertLessEqual(len(servers[0].raw) - before, 4, "checks alone")


class LimitTests(UpstreamCase):
    def held(self) -> tuple[Callable[[Connection], None], threading.Event, threading.Semaphore]:
        go, begun = threading.Event(), threading.Semaphore(0)

        def serve(connection: Connection) -> None:
            while True:
                connection.request()
                begun.release()
                go.wait(20)
                connection.send(OK)

        return serve, go, begun

    def test_requests_wait_for_a_server_with_room(self) -> None:
        serve, go, begun = self.held()
        service = self.upstream(serve)
        gateway = self.running(service.url, "max_requests = 2\nqueue = 2\nqueue_timeout = 10s\n")
        wires = [self.connect(gateway, "http") for _ in range(5)]
        for wire in wires[:4]:
            wire.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertTrue(begun.acquire(timeout=10) and begun.acquire(timeout=10))
        eventually(lambda: self.status()["upstreams"][0]["waiting"] == 2, "two requests wait")
        wires[4].send(b"GET / HTTP/1.1\r\nHost: gw\r\nAccept: application/json\r\n\r\n")
        refused = wires[4].response()
        self.assertEqual((refused.status, json.loads(refused.text)["error"]), (503, "upstream_busy"))
        self.assertIsNotNone(refused.get("retry-after"))
        self.assertFalse(begun.acquire(blocking=False), "two at a time")
        go.set()
        self.assertEqual([wire.response().status for wire in wires[:4]], [200] * 4)

    def test_a_request_does_not_wait_longer_than_the_deadline(self) -> None:
        serve, go, begun = self.held()
        service = self.upstream(serve)
        gateway = self.running(service.url, "max_requests = 1\nqueue_timeout = 500ms\n")
        first, second = (self.connect(gateway, "http") for _ in range(2))
        first.send(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n")
        self.assertTrue(begun.acquire(timeout=10))
        began = time.monotonic()
        self.assertEqual(second.get("/").status, 503)
        self.assertLess(time.monotonic() - began, 5)
        gateway.await_log("no server had room within queue_timeout (0.5 s)")
        go.set()
        self.assertEqual(first.response().status, 200)


class RetryTests(UpstreamCase):
    def test_only_what_is_safe_is_sent_again(self) -> None:
        bad, good = self.upstream(BUSY), self.upstream(OK)
        self.running(f"{bad.url}, {good.url}", "retries = 1\nretry_budget = 100%\n")
        self.assertEqual(Counter(self.get()[0] for _ in range(10)), {200: 10})
        posts = Counter(self.get(method="POST")[0] for _ in range(4))
        self.assertEqual(posts, {200: 2, 503: 2})
        (sent,) = self.figure("perimeter_upstream_retries_total")
        self.assertEqual(sent.rpartition(" ")[2], "5.0")

    def test_a_server_with_bad_answers_is_ejected(self) -> None:
        bad, good = self.upstream(BUSY), self.upstream(OK)
        gateway = self.running(f"{bad.url}, {good.url}", "eject_after = 3\neject_time = 2s\n")
        statuses = Counter(self.get()[0] for _ in range(20))
        self.assertEqual(statuses, {200: 17, 503: 3})
        gateway.await_log(f"server {bad.url} is ejected: it answered 503")
        gateway.await_log(f"server {bad.url} is up")

    def test_a_killed_server_costs_no_request(self) -> None:
        servers = [self.echo() for _ in range(3)]
        gateway = self.running(", ".join(one.url for one in servers), "balance = least-connections\nretries = 1\n")
        found: list[int] = []
        stop = threading.Event()

        def load() -> None:
            with gateway.connect("http") as wire:
                while not stop.is_set():
                    found.append(wire.get("/").status)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            eventually(lambda: len(found) > 50, "some requests")
            servers[1]._process.kill()
            before = len(found)
            gateway.await_log(f"server {servers[1].url} is resting")
            eventually(lambda: len(found) > before + 200, "more requests")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(Counter(found).keys(), {200})


class HashTests(UpstreamCase):
    def test_the_same_address_and_header_get_the_same_server(self) -> None:
        def named(name: str) -> bytes:
            return f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()

        servers = ", ".join(self.upstream(named(name)).url for name in ("one", "two", "three"))
        self.running(servers, "balance = hash(header:X-Key)\n")
        found: dict[str, set[str]] = {}
        for at in range(40):
            key = f"key{at % 10}"
            found.setdefault(key, set()).add(self.get("/", f"X-Key: {key}")[1])
        self.assertEqual({len(one) for one in found.values()}, {1})
        self.assertGreater(len(set.union(*found.values())), 1)
        self.assertEqual(len(self.bodies(6)), 1, "without the header by the address")
