"""A gateway from start to end: reloads, changed users and keys, stopping, and being killed, without any loss."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import jwt
import psutil
from cryptography import x509

from tests.integration.harness import SOURCE, USERS, ExecutedGateway, Gateway, GatewayCase, site, targets
from tests.integration.ports import eventually
from tests.integration.traffic import Held, InFlight, Load
from tests.integration.wire import basic, bearer, insecure_context

ALICE = basic("alice", "secret")

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service
auth = none

[route private]
path = /private
upstream = service
"""


def answering(text: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text.encode())


def assert_closed(gateway: Gateway, listener: str) -> None:
    """Wait until no socket listens there any more; that takes the gateway one turn."""

    def closed() -> bool:
        try:
            gateway.connect(listener, tls=False).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:
            pass  # it was in the queue when the socket was closed
        return False

    eventually(closed, f"{listener} is closed")


class ReloadTests(GatewayCase):
    gateway_class: type[Gateway] = ExecutedGateway

    def test_faulty_file_changes_nothing_and_says_why(self) -> None:
        config = site(ROUTES.format(url=self.upstream().url))
        gateway = self.gateway(config, USERS)
        wire = self.connect(gateway, "http")
        for broken, word in (
            (config.replace("auth = none", "auth = nobody"), "auth"),
            (config.replace("[audit]\npath = access.log", "[audit]\npath = /proc/access.log"), "/proc/access.log"),
            (config.replace("users.realm", "gone.realm"), "gone.realm"),
            (config.replace("state_dir = state", "state_dir = /proc/none"), "/proc/none"),
            ("", "listener"),
        ):
            gateway.configure(broken)
            self.assertIn("STATUS=not reloaded: ", status := gateway.reload())
            self.assertIn(word, status)
            gateway.await_log(f"not reloaded: {status.partition('not reloaded: ')[2].splitlines()[0]}")
            self.assertEqual(wire.get("/x").status, 200, word)
            self.assertEqual(self.connect(gateway, "http").get("/private").status, 401, word)
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        second = "[listener a]\nport = @new@\ninterface = 127.0.0.1\n"
        second += f"[listener b]\nport = {taken.getsockname()[1]}\ninterface = 127.0.0.1\n"
        gateway.configure(config + second)
        self.assertIn("not reloaded: listener b: cannot listen", gateway.reload())
        assert_closed(gateway, "new")
        gateway.config.unlink()
        self.assertIn("not reloaded", gateway.reload())
        self.assertEqual(wire.get("/x").status, 200)
        gateway.configure(config)
        self.assertNotIn("not reloaded", gateway.reload())
        self.assertEqual(wire.get("/x").status, 200)
        self.assertEqual(gateway.audit()[-1].split('"')[1], "GET /x HTTP/1.1")

    def test_good_file_swaps_everything(self) -> None:
        """Routes, realm, error pages, limits and the audit log change for new requests, also on open connections."""
        one, two = self.upstream(answering("one")), self.upstream(answering("two"))
        config = site(ROUTES.format(url=one.url), limits="max_headers = 50")
        gateway = self.gateway(config, {**USERS, "pages/503.html": "<p>ours</p>", "pages/404.html": "<p>not here</p>"})
        wire = self.connect(gateway, "http")
        self.assertEqual(wire.get("/x").body, b"one")
        self.assertEqual(wire.get("/only").body, b"one")
        many = [f"X-{number}: y" for number in range(20)]
        self.assertEqual(wire.get("/x", *many).status, 200)

        routes = ROUTES.format(url=two.url).replace("path = /\n", "path = /only\n") + (
            "[route pages]\npath = /pages\nstatic = pages\nauth = none\n[errors]\npage = 404 /pages/404.html\n"
        )
        changed = site(routes, limits="max_headers = 10").replace("realm = example", "realm = other")
        gateway.configure(changed.replace("path = access.log", "path = second.log\nformat = json"))
        self.assertIn("STATUS=listening", gateway.reload())
        self.assertEqual(wire.get("/only").body, b"two")
        page = wire.get("/x", "Accept: text/html")
        self.assertEqual((page.status, page.body), (404, b"<p>not here</p>"))
        self.assertEqual(wire.get("/private").get_all("www-authenticate")[0], 'Bearer realm="other"')
        self.assertEqual(wire.get("/only", *many).status, 431)
        self.assertEqual(len(gateway.audit()), 3)
        self.assertEqual([json.loads(line)["status"] for line in gateway.audit("second.log")], [200, 404, 401, 431])

    def test_certificate_and_handshake_timeout(self) -> None:
        config = site(ROUTES.format(url=self.upstream().url), tls=True, limits="handshake_timeout = 60s")
        gateway = self.gateway(config, USERS)
        old = self.connect(gateway)
        before = old.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        self.pair(gateway, "new", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        self.pair(gateway, "weak", "rsa:1024")
        changed = config.replace("tls = yes", "tls = yes\ncertificate = new.crt\nprivate_key = new.key")
        gateway.configure(changed.replace("handshake_timeout = 60s", "handshake_timeout = 2s"))
        self.assertIn("STATUS=listening", gateway.reload())
        new = self.connect(gateway)
        after = x509.load_der_x509_certificate(new.socket.getpeercert(binary_form=True) or b"")  # type: ignore[attr-defined]
        self.assertEqual(after.subject.rfc4514_string(), "CN=new.test")
        self.assertNotEqual(before, new.socket.getpeercert(binary_form=True))  # type: ignore[attr-defined]
        # open connections stay open
        self.assertEqual(old.get("/x").status, 200)
        self.assertEqual(new.get("/x").status, 200)
        stalled = self.connect(gateway, tls=False)
        began = time.monotonic()
        self.assertEqual(stalled.read_all(), b"")
        self.assertLess(time.monotonic() - began, 10)
        # a certificate that does not match its key changes nothing, nor does one that only OpenSSL refuses, at the very end
        for certificate, key in (("new.crt", "weak.key"), ("weak.crt", "weak.key"), ("new.crt", "new.crt")):
            faulty = changed.replace("new.key", key).replace("new.crt", certificate).replace("auth = none", "auth = required")
            gateway.configure(faulty + "[listener more]\nport = @more@\ninterface = 127.0.0.1\n")
            self.assertIn("not reloaded", gateway.reload(), certificate)
            assert_closed(gateway, "more")
            self.assertEqual(self.connect(gateway).get("/x").status, 200)

    def pair(self, gateway: Gateway, name: str, *kind: str) -> None:
        """NAME.key and NAME.crt in the gateway's directory."""
        self.need("openssl")
        key, certificate = str(gateway.directory / f"{name}.key"), str(gateway.directory / f"{name}.crt")
        command = ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}.test", "-days", "9"]
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)

    def test_a_renewed_certificate_is_used_without_a_reload(self) -> None:
        """A wrong pair is refused and changes nothing; site.ini, which is half edited at the moment, is not read."""
        config = site(ROUTES.format(url="sample:"), tls=True)
        gateway = self.unstarted(config.replace("tls = yes", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key"), USERS)
        for name in ("first", "second", "third"):
            self.pair(gateway, name, "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")

        def renew(certificate: str, key: str) -> None:
            for name in (f"{certificate}.crt", f"{key}.key"):
                shutil.copy(gateway.directory / name, gateway.directory / f"gw{name[-4:]}")

        def shown() -> str:
            with gateway.connect() as wire:
                der = wire.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
                return x509.load_der_x509_certificate(der).subject.rfc4514_string()

        renew("first", "first")
        gateway.start()
        gateway.configure("[listener half")
        renew("second", "first")
        gateway.await_log("this private key does not belong to the certificate", 30)
        self.assertEqual(shown(), "CN=first.test")
        renew("third", "third")
        eventually(lambda: shown() == "CN=third.test", "the third certificate is served", 30)
        self.assertNotIn("listener half", gateway.log)

    def test_listeners_come_go_and_move(self) -> None:
        service = self.upstream()
        config = site(ROUTES.format(url=service.url))
        tokens = "[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"
        gateway = self.gateway(config, USERS)
        kept = self.connect(gateway, "http")
        self.assertEqual(kept.get("/x").status, 200)

        gateway.configure(config + tokens)
        self.assertIn("tokens on port", gateway.reload())
        leaving = self.connect(gateway, "tokens")
        self.assertEqual(leaving.get("/", ALICE).status, 200)

        gateway.configure(config + tokens.replace("@tokens@", "@moved@"))
        gateway.reload()
        assert_closed(gateway, "tokens")
        self.assertTrue(leaving.closed(), "an idle connection of a listener that is gone closes")
        self.assertEqual(self.connect(gateway, "moved").get("/", ALICE).status, 200)

        # the function of a listener changes while connections are open
        gateway.configure(config + tokens.replace("@tokens@", "@moved@").replace("serve = tokens", "serve = gateway"))
        stays = self.connect(gateway, "moved")
        self.assertEqual(stays.get("/", ALICE).status, 200)
        reached = len(service.requests)
        gateway.reload()
        self.assertEqual(stays.get("/").status, 200)
        self.assertEqual(len(service.requests), reached + 1)

        # another name, or TLS, on the same port
        gateway.configure(config + tokens.replace("@tokens@", "@moved@").replace("listener tokens", "listener renamed"))
        self.assertIn("renamed on port", gateway.reload())
        self.assertEqual(self.connect(gateway, "moved").get("/", ALICE).status, 200)
        gateway.configure(config + tokens.replace("@tokens@", "@moved@\ntls = yes"))
        self.assertIn("STATUS=listening", gateway.reload())
        self.assertEqual(self.connect(gateway, "moved", tls=True).get("/", ALICE).status, 200)
        gateway.configure(config)
        gateway.reload()
        assert_closed(gateway, "moved")
        self.assertEqual(kept.get("/x").status, 200)

    def test_handshake_that_outlasts_its_listener_is_not_served(self) -> None:
        """A client that completes its handshake after the listener was removed must not get the old rules."""
        config = site(ROUTES.format(url=self.upstream().url), tls=True)
        extra = "[listener other]\nport = @other@\ninterface = 127.0.0.1\ntls = yes\n"
        gateway = self.gateway(config + extra, USERS)
        late = self.connect(gateway, "other", tls=False)
        # it is certainly accepted, because later connections are served
        self.assertEqual(self.connect(gateway, "other", tls=True).get("/x").status, 200)
        gateway.configure(config)
        gateway.reload()
        late.socket = insecure_context().wrap_socket(late.socket, do_handshake_on_connect=False)
        with contextlib.suppress(ssl.SSLError, OSError):
            late.socket.do_handshake()
            late.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertNotIn(b"200", late.read_all())

    def test_requests_in_flight_finish_on_what_they_began_with(self) -> None:
        """A download, an event stream and a tunnel continue during reloads. Each is logged once, in the right file."""
        held = Held()
        service = self.upstream(held)
        self.addCleanup(held.go.set)
        config = site(ROUTES.format(url=service.url) + "audit = private.log\n").replace(
            "auth = none", "auth = none\naudit = first.log"
        )
        extra = "[listener going]\nport = @going@\ninterface = 127.0.0.1\n"
        gateway = self.gateway(config + extra, USERS)
        flights = [InFlight(gateway, held, "http"), InFlight(gateway, held, "going")]
        other = self.upstream(answering("new"))
        gateway.configure(site(ROUTES.format(url=other.url)).replace("auth = none", "auth = none\naudit = second.log"))
        for _ in range(3):
            self.assertIn("STATUS=listening", gateway.reload())
        wire = self.connect(gateway, "http")
        self.assertEqual(wire.get("/new").body, b"new")
        self.assertEqual(targets(gateway.audit("first.log")), ["/tunnel"] * 2)
        for flight in flights:
            flight.finish()
        lines = gateway.await_audit(8, "first.log")
        self.assertEqual(sorted(targets(lines)), ["/download"] * 2 + ["/events"] * 2 + ["/tunnel"] * 4)
        self.assertEqual(
            sorted(line.split('" ')[1] for line in lines), ["101 0"] * 2 + ["101 15"] * 2 + ["200 18"] * 2 + ["200 200000"] * 2
        )
        self.assertEqual(targets(gateway.audit("second.log")), ["/new"])
        self.assertEqual(gateway.audit(), [])

    def test_the_daemon_s_own_log_turns_too(self) -> None:
        config = site(ROUTES.format(url=self.upstream().url))
        gateway = self.gateway(config, USERS)
        gateway.configure(config + "\n[logging]\nformat = json\n")
        gateway.reload()
        eventually(lambda: '"message": "reloaded: ' in gateway.log, "the reload is logged as JSON")
        gateway.configure(config + "\n[logging]\nlevel = error\n")
        gateway.reload()
        before = gateway.log
        gateway.configure(config)
        gateway.reload()
        eventually(lambda: "reloaded: " in gateway.log[len(before) :], "the minimum level is info again")
        self.assertEqual(gateway.log[len(before) :].count("reloaded: "), 1)

    def test_fifty_reloads_under_load(self) -> None:
        """No request is lost or refused, each is logged once, and neither memory nor descriptors leak."""
        one, two = self.upstream(), self.upstream()
        tls = "[listener https]\nport = @https@\ninterface = 127.0.0.1\ntls = yes\n"
        configs = [site(ROUTES.format(url=service.url), extra=tls) for service in (one, two)]
        gateway = self.gateway(configs[0], USERS)
        loads = [Load(gateway, "kept"), Load(gateway, "fresh", keep=False)]
        for load in loads:
            load.start()
        process = psutil.Process(gateway.pid)

        def reloads(count: int) -> None:
            for number in range(count):
                gateway.configure(configs[number % 2])
                self.assertIn("STATUS=listening", gateway.reload())

        reloads(10)
        memory, descriptors, threads = gateway.memory(), process.num_fds(), process.num_threads()
        reloads(50)
        grown = gateway.memory() - memory
        for load in loads:
            load.stopping = True
        for load in loads:
            load.join(10)
            self.assertEqual(load.failures[:3], [])
            self.assertGreater(len(load.answered), 10)
        self.assertLess(grown, 6 * 1024 * 1024)
        eventually(lambda: process.num_fds() <= descriptors + 2, f"{descriptors} descriptors again")
        # the pools start their few threads when there is work for them, during any reload
        self.assertLess(process.num_threads(), threads + 16)
        self.assertEqual(sorted(targets(gateway.audit())), sorted(target for load in loads for target in load.answered))


class RunTimeTests(GatewayCase):
    gateway_class: type[Gateway] = ExecutedGateway

    def test_users_who_change(self) -> None:
        """A new password works, and cached logins of a removed user end, within about two seconds."""
        gateway = self.gateway(
            site(ROUTES.format(url=self.upstream().url), extra="[authentication]\nremember_password = 1h\n"), USERS
        )
        users = gateway.directory / "users.realm"
        wire = self.connect(gateway, "http")
        bob = basic("bob", "hunter2")
        for _ in range(2):
            self.assertEqual(wire.get("/private", bob).status, 200)
        users.write_text("alice: changed\n")
        began = time.monotonic()
        eventually(lambda: wire.get("/private", bob).status == 401, "the removed user is out", 5)
        self.assertLess(time.monotonic() - began, 3)
        self.assertEqual(wire.get("/private", ALICE).status, 401)
        self.assertEqual(wire.get("/private", basic("alice", "changed")).status, 200)
        # by rename, as careful editors do
        beside = gateway.directory / "users.new"
        beside.write_text("bob: again\n")
        beside.rename(users)
        eventually(lambda: wire.get("/private", basic("bob", "again")).status == 200, "the new password works", 5)
        # a broken or missing file: the last valid one stays in use, and the log says so
        users.write_text("carol: new\nbroken: {SSHA}AAAA\n")
        gateway.await_log("users.realm:2: the password of user 'broken' is")
        self.assertEqual(wire.get("/private", basic("bob", "again")).status, 200)
        users.unlink()
        eventually(lambda: gateway.log.count("the users read before stay in force") == 2, "the log says that the file is gone")
        self.assertEqual(wire.get("/private", basic("bob", "again")).status, 200)
        # a start with this file would fail, so the reload fails too, and the log says so
        self.assertIn("not reloaded", gateway.reload())
        self.assertEqual(wire.get("/private", basic("bob", "again")).status, 200)

    def test_keys_rotated_by_the_command(self) -> None:
        """The gateway uses the keys of `perimeter keys rotate`. With --discard, earlier tokens are invalid."""
        gateway = self.gateway(site(ROUTES.format(url=self.upstream().url)), USERS)
        wire = self.connect(gateway, "http")

        def token() -> str:
            return str(json.loads(wire.get("/token", ALICE).body)["access_token"])

        def rotate(*options: str) -> None:
            code = "import sys; sys.argv[0] = 'perimeter'; from perimeter.cli.main import main; main()"
            command = [sys.executable, "-c", code, "keys", "rotate", "--config", str(gateway.config), *options]
            subprocess.run(command, check=True, capture_output=True, timeout=30, env={"PYTHONPATH": str(SOURCE)})

        def kid(one: str) -> str:
            return str(jwt.get_unverified_header(one)["kid"])

        old = token()
        published = {key["kid"] for key in json.loads(wire.get("/.well-known/jwks.json").body)["keys"]}
        rotate()
        eventually(lambda: kid(token()) != kid(old), "the next key signs", 15)
        self.assertIn(kid(token()), published, "it was published before it signed")
        self.assertEqual(wire.get("/private", bearer(old)).status, 200)
        rotate("--discard")
        eventually(lambda: wire.get("/private", bearer(old)).status == 401, "the old token is refused", 15)
        self.assertEqual(wire.get("/private", f"Authorization: Bearer {token()}").status, 200)


class EndTests(GatewayCase):
    gateway_class: type[Gateway] = ExecutedGateway

    #: A worker may answer before it gets the message that the gateway stops.
    stops_at_once = True

    def held(self, perimeter: str = "", audit: str = "") -> tuple[Held, Gateway]:
        """A gateway in front of a service that waits, with more options."""
        held = Held()
        service = self.upstream(held)
        self.addCleanup(held.go.set)
        config = site(ROUTES.format(url=service.url), perimeter=perimeter).replace("[audit]\n", f"[audit]\n{audit}\n")
        return held, self.gateway(config, USERS)

    def test_sigterm_drains(self) -> None:
        """Idle connections close at once, open requests finish, and no new connection is accepted. Then the process ends."""
        held, gateway = self.held()
        idle = self.connect(gateway, "http")
        self.assertEqual(idle.get("/x").status, 200)
        flight = InFlight(gateway, held)
        gateway.signal(signal.SIGTERM)
        gateway.await_notification("STOPPING=1")
        self.assertTrue(idle.closed())
        assert_closed(gateway, "http")
        flight.finish()
        self.assertEqual(gateway.wait(8), -signal.SIGTERM)
        self.assertEqual(sorted(targets(gateway.audit())), ["/download", "/events", "/tunnel", "/tunnel", "/x"])

    def test_a_request_on_its_way_when_the_gateway_stops_is_answered(self) -> None:
        """On connections that are idle at that moment: one has had a request, one has none yet, one is in its handshake."""
        config = site(ROUTES.format(url=self.upstream(answering("here")).url), tls=True)
        gateway = self.gateway(config, USERS)
        used, fresh = self.connect(gateway), self.connect(gateway)
        self.assertEqual(used.get("/1").status, 200)
        begun = insecure_context().wrap_socket(
            socket.create_connection(("127.0.0.1", gateway["https"]), 10), do_handshake_on_connect=False
        )
        self.addCleanup(begun.close)
        workers = psutil.Process(gateway.pid).children()
        for process in workers:
            process.suspend()
        gateway.signal(signal.SIGSTOP)  # all of this arrives before the stop does
        for wire in (used, fresh):
            wire.send(b"GET /2 HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        begun.settimeout(0)
        self.assertRaises(ssl.SSLWantReadError, begun.do_handshake)
        begun.settimeout(10)
        gateway.signal(signal.SIGTERM)
        gateway.signal(signal.SIGCONT)
        gateway.await_notification("STOPPING=1")
        for process in workers:
            process.resume()
        begun.do_handshake()
        begun.sendall(b"GET /3 HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        self.assertIn(b" 200 ", begun.recv(4096))
        for wire in (used, fresh):
            response = wire.response()
            self.assertEqual(response.status, 200)
            self.assertTrue(wire.closed())
            if self.stops_at_once:
                self.assertEqual(response.get("connection"), "close")
        self.assertEqual(gateway.wait(), -signal.SIGTERM)

    def test_sigterm_waits_for_drain_timeout_at_most(self) -> None:
        """Requests that do not end in time are answered with 503, or cut off as what they are: not whole. The log says why."""
        held, gateway = self.held("drain_timeout = 2s", "format = json")
        flight = InFlight(gateway, held)
        waiting = gateway.connect("http").send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.begun.acquire(timeout=10)
        for wire in (flight.download, flight.events, flight.tunnel, waiting):
            self.addCleanup(wire.close)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        response = waiting.response()
        self.assertEqual((response.status, response.get("connection")), (503, "close"))
        self.assertEqual(gateway.wait(20), -signal.SIGTERM)
        self.assertTrue(1.5 < time.monotonic() - began < 6, time.monotonic() - began)
        self.assertEqual(flight.tunnel.read_all(), b"")
        self.assertNotIn(b"0\r\n\r\n", flight.events.read_all())
        records = [json.loads(line) for line in gateway.audit()]
        self.assertEqual(
            sorted((record["target"], record["status"], record["reason"]) for record in records),
            [
                ("/download", 200, "shutdown"),
                ("/events", 200, "shutdown"),
                ("/silent", 503, "shutdown"),
                ("/tunnel", 101, "shutdown"),
                ("/tunnel", 101, "tunnel_opened"),
            ],
        )

    def test_a_second_signal_waits_for_nothing(self) -> None:
        """After a second signal the gateway does not wait: open requests are aborted and logged."""
        held, gateway = self.held()
        flight = InFlight(gateway, held)
        for wire in (flight.download, flight.events, flight.tunnel):
            self.addCleanup(wire.close)
        gateway.signal(signal.SIGTERM)
        gateway.await_notification("STOPPING=1")
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)  # SIGINT would work too, but background jobs of a shell ignore it
        self.assertEqual(gateway.wait(8), -signal.SIGTERM)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(sorted(targets(gateway.audit())), ["/download", "/events", "/tunnel", "/tunnel"])

    def test_sigkill_loses_no_record(self) -> None:
        """With strict, every response that a client has received is in the audit log, even if the process is killed then."""
        for _ in range(2):
            gateway = self.gateway(site(ROUTES.format(url=self.upstream().url)), USERS)
            loads = [Load(gateway, f"load{number}", keep=number % 2 == 0) for number in range(4)]
            for load in loads:
                load.start()
            eventually(lambda loads=loads: sum(len(load.answered) for load in loads) > 400, "the load runs", 20)  # type: ignore[misc]
            gateway.kill()
            for load in loads:
                load.stopping = True
            for load in loads:
                load.join(15)
            logged = targets(gateway.audit())
            self.assertEqual(len(logged), len(set(logged)))
            answered = {target for load in loads for target in load.answered}
            self.assertGreater(len(answered), 400)
            self.assertEqual(answered - set(logged), set())
