"""A gateway with several workers: start, crashes, hangs, reloads and the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time

import psutil

from perimeter.errors import StartupError
from perimeter.run.asking import NoGateway
from tests.integration import authplugin
from tests.integration.fleet import FleetCase, asked, await_serving, described, planning, workers
from tests.integration.harness import START_TIMEOUT, USERS, Gateway
from tests.integration.ports import eventually, free_port
from tests.integration.traffic import Held, InFlight, Load
from tests.integration.wire import basic

ALICE = basic("alice", "secret")


class StartTests(FleetCase):
    def test_workers_serve_and_stop(self) -> None:
        gateway = self.fleet(2)
        processes = workers(gateway)
        self.assertEqual(len(processes), 2)
        for _ in range(20):
            self.assertEqual(self.status_of(gateway), 200)
        self.assertEqual(self.status_of(gateway, "/private"), 401)
        self.assertEqual(self.connect(gateway, "http").get("/private", ALICE).status, 200)
        manager = psutil.Process(gateway.pid)
        self.assertIn("perimeter.manager", manager.cmdline())
        self.assertLess(gateway.memory(), 35 << 20)
        gateway.stop()
        self.assertEqual([one for one in processes if one.is_running()], [])
        self.assertEqual(len(gateway.audit()), 22)

    def test_a_start_without_enough_descriptors_is_refused_in_one_line(self) -> None:
        gateway = self.unstarted(self.config(3), USERS, before=("prlimit", "--nofile=261"))
        gateway.launch()
        self.assertEqual(gateway.wait(), 1)
        self.assertIn(
            "critical perimeter.run.launch: 3 workers need 262 file descriptors in each process, and the limit is 261",
            gateway.log,
        )
        self.assertNotIn("Traceback", gateway.log)
        gateway.kill()
        gateway = self.unstarted(self.config(3), USERS, before=("prlimit", "--nofile=262"))
        gateway.start()
        self.assertEqual(self.status_of(gateway), 200)

    def test_what_all_workers_would_refuse_is_reported_once_and_ends_the_start(self) -> None:
        gateway = self.unstarted(self.config(4), USERS)
        (gateway.directory / "state").mkdir(0o700)
        (gateway.directory / "state" / "state.db").mkdir()
        gateway.launch()
        self.assertEqual(gateway.wait(), 1)
        self.assertNotIn("Traceback", gateway.log)
        self.assertEqual(gateway.log.count("could not be started: "), 1)
        gateway.kill()

    def test_each_line_of_the_log_names_the_slot(self) -> None:
        gateway = self.fleet(2)
        for _ in range(10):
            self.status_of(gateway, "/private")
        gateway.await_log(" perimeter.http.refusals slot=")
        gateway.configure(self.config(2) + "[logging]\nformat = json\n")
        gateway.reload()
        before = len(gateway.log)
        workers(gateway)[1].send_signal(signal.SIGKILL)
        gateway.await_log('"worker 1 has ended')
        await_serving(gateway, 2)
        for _ in range(10):
            self.status_of(gateway, "/private")

        def slots() -> set[int | None]:
            return {json.loads(line).get("slot") for line in gateway.log[before:].splitlines() if line.startswith("{")}

        eventually(lambda: slots() >= {None, 0} or slots() >= {None, 1}, "lines of the manager and of a worker")

    def test_fault_that_only_a_worker_finds_ends_the_start(self) -> None:
        config = self.config(3).replace(
            "[listener http]\n", "[listener http]\ntls = yes\ncertificate = a.crt\nprivate_key = a.key\n"
        )
        gateway = self.unstarted(config, {**USERS, "a.crt": "none", "a.key": "none"})
        gateway.launch()
        self.assertEqual(gateway.wait(), 1)
        gateway.kill()
        last = gateway.log.splitlines()[-1]
        self.assertIn(" critical ", last)
        self.assertIn("a.crt", last)
        self.assertEqual(gateway.log.count(" could not be started"), 1, "the other workers would refuse it, too")
        self.assertNotIn("READY=1", "".join(gateway.notifications))

    def test_fault_of_the_configuration_starts_no_worker(self) -> None:
        gateway = self.unstarted(self.config(2).replace("auth = none", "auth = nobody"), USERS)
        gateway.launch()
        self.assertEqual(gateway.wait(), 1)
        gateway.kill()
        self.assertNotIn("slot=", gateway.log)
        self.assertIn("not 'nobody'", gateway.log)

    def test_port_that_is_taken(self) -> None:
        gateway = self.unstarted(self.config(2), USERS)
        with socket.create_server(("127.0.0.1", gateway["http"])):
            gateway.launch()
            self.assertEqual(gateway.wait(), 1)
        gateway.kill()
        self.assertIn("address already in use", gateway.log)

    def test_auto_and_pin(self) -> None:
        cores = sorted(os.sched_getaffinity(0))
        gateway = self.gateway(self.config(3, "pin = yes"), USERS)
        for number, worker in enumerate(workers(gateway)):
            for thread in worker.threads():
                self.assertEqual(os.sched_getaffinity(thread.id), {cores[number % len(cores)]})
        gateway.configure(self.config(3).replace("workers = 3", "workers = auto"))
        gateway.reload()
        if len(cores) > 1:
            await_serving(gateway, min(64, len(cores)))
        for worker in workers(gateway):
            for thread in worker.threads():
                self.assertEqual(os.sched_getaffinity(thread.id), set(cores))

    def test_each_start_makes_what_is_missing_once(self) -> None:
        """Keys, database and certificate: all workers use the same ones."""
        config = self.config(4).replace("[listener http]\nport = @http@\n", "[listener https]\nport = @https@\ntls = yes\n")
        gateway = self.gateway(config, USERS)
        shown = set()
        for _ in range(40):
            with gateway.connect("https") as wire:
                self.assertEqual(wire.get("/x").status, 200)
                shown.add(wire.socket.getpeercert(binary_form=True))  # type: ignore[attr-defined]
        self.assertEqual(len(shown), 1)


class CrashTests(FleetCase):
    def test_worker_that_is_killed_is_replaced(self) -> None:
        gateway = self.fleet(2)
        descriptors = psutil.Process(gateway.pid).num_fds()
        load = Load(gateway, "load", keep=False)
        load.start()
        for killed in range(1, 3):
            first = workers(gateway)[0]
            first.kill()
            eventually(lambda first=first: not first.is_running(), "the end of the worker")  # type: ignore[misc]
            await_serving(gateway, 2)
            self.assertEqual([one["restarts"] for one in described(gateway)], [killed, 0])
        load.stopping = True
        load.join(10)
        # a request in flight on a worker that is killed is lost, and no other one
        self.assertLessEqual(len(load.failures), 2, load.failures)
        self.assertGreater(len(load.answered), 20)
        self.assertEqual(gateway.log.count("worker 0 has ended by SIGKILL: another one is started"), 2)
        self.assertLessEqual(psutil.Process(gateway.pid).num_fds(), descriptors)

    def test_all_workers_at_once(self) -> None:
        gateway = self.fleet(3)
        for worker in workers(gateway):
            worker.kill()
        # clients wait for the next workers: the manager keeps the sockets
        self.assertEqual(self.status_of(gateway), 200)
        await_serving(gateway, 3)

    def test_worker_that_is_asked_to_end_finishes_its_requests_first(self) -> None:
        held = Held()
        self.addCleanup(held.go.set)
        gateway = self.gateway(self.config(2, url=self.upstream(held).url), USERS)
        processes = workers(gateway)
        flight = InFlight(gateway, held)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        flight.finish()
        eventually(lambda: not any(one.is_running() for one in processes), "the end of both workers")
        self.assertEqual(self.status_of(gateway), 200)
        await_serving(gateway, 2)

    def test_attack_82_worker_that_hangs_is_ended_and_shows_where_it_was(self) -> None:
        """A plug-in blocks for ever. The other worker serves meanwhile."""
        directory = self.directory()
        blocking = authplugin.SOURCE_TEXT.replace('        if user == "hang":\n            await Deferred()', BLOCK)
        self.assertIn("time.sleep", blocking)
        environ = authplugin.installed(directory, blocking)
        config = self.config(2).replace("[audit]", f"{authplugin.SECTION}\n[audit]")
        gateway = self.gateway(config, USERS, environ)
        hung = self.connect(gateway, "http")
        began = time.monotonic()
        hung.send(b"GET /private HTTP/1.1\r\nHost: a\r\n" + basic("hang", "x").encode() + b"\r\n\r\n")
        before = {one.pid for one in workers(gateway)}
        served = 0
        while {one.pid for one in workers(gateway)} >= before:
            # a connection that the worker had accepted hangs with it; the next ones do not
            with gateway.connect("http") as wire:
                wire.socket.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    served += wire.get("/x").status == 200
            self.assertLess(time.monotonic() - began, 20)
        self.assertGreater(served, 20)
        self.assertTrue(time.monotonic() - began > 4, "after 5 s")
        gateway.await_log("has ended by SIGABRT: another one is started")
        self.assertRegex(gateway.log, r"worker [01] \(pid \d+\) hangs: it is ended")
        self.assertRegex(gateway.log, r"acme_authenticator.py\", line \d+ in authenticate")
        await_serving(gateway, 2)

    def test_worker_that_does_not_react_to_any_signal_is_killed(self) -> None:
        gateway = self.fleet(2)
        first, second = workers(gateway)
        second.suspend()
        began = time.monotonic()
        while second.is_running() and second.status() != psutil.STATUS_ZOMBIE:
            with gateway.connect("http") as wire:
                wire.socket.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    wire.get("/x")
            self.assertLess(time.monotonic() - began, 20)
        self.assertGreater(time.monotonic() - began, 5)
        gateway.await_log("worker 1 has ended by SIGKILL")
        await_serving(gateway, 2)
        self.assertTrue(first.is_running())

    def test_manager_that_dies_takes_its_workers_along(self) -> None:
        """They finish their requests, accept no more, and leave the port to the next gateway."""
        held = Held()
        self.addCleanup(held.go.set)
        config = self.config(2, url=self.upstream(held).url)
        gateway = self.gateway(config, USERS)
        processes = workers(gateway)
        flight = InFlight(gateway, held)
        gateway.kill()
        gateway.await_log("slot=0: the manager of this worker has gone")
        eventually(lambda: not listens(gateway["http"]), "the listeners are closed")
        gateway.start()  # at once, while the old workers finish
        self.assertTrue(any(one.is_running() for one in processes))
        self.assertEqual(self.status_of(gateway), 200)
        flight.finish()
        eventually(lambda: not any(one.is_running() for one in processes), "the end of the old workers")
        await_serving(gateway, 2)


BLOCK = """\
        if user == "hang":
            import time
            time.sleep(600)"""


class EndTests(FleetCase):
    def test_signals_to_all_processes_are_one_request_to_stop(self) -> None:
        """Ctrl-C in a terminal, and a service manager that signals the whole group: requests finish all the same."""
        for number in (signal.SIGINT, signal.SIGTERM):
            held = Held()
            self.addCleanup(held.go.set)
            gateway = self.gateway(self.config(2, url=self.upstream(held).url), USERS)
            processes = workers(gateway)
            flight = InFlight(gateway, held)
            for process in (processes[0], psutil.Process(gateway.pid), processes[1]):
                process.send_signal(number)
            gateway.await_notification("STOPPING=1")
            flight.finish()
            self.assertEqual(gateway.wait(10), -number)
            gateway.kill()
            self.assertEqual([one for one in processes if one.is_running()], [])
            self.assertNotRegex(gateway.log, "Traceback|Unhandled")

    def test_worker_that_is_stopped_does_not_keep_the_gateway_from_ending(self) -> None:
        gateway = self.fleet(2, "drain_timeout = 2s")
        suspended = workers(gateway)[1]
        suspended.suspend()
        gateway.signal(signal.SIGTERM)
        self.assertEqual(gateway.wait(15), -signal.SIGTERM)
        self.assertFalse(suspended.is_running())


class ReloadTests(FleetCase):
    def begin_reload(self, gateway: Gateway) -> None:
        """Returns when the first worker has prepared the configuration, and the others have been asked."""
        gateway.signal(signal.SIGHUP)
        gateway.await_notification("RELOADING=1")
        eventually(lambda: planning(gateway), "the process that reads site.ini")
        eventually(lambda: not planning(gateway), "its end")
        time.sleep(2)  # a worker that is stopped is ended after 6

    def test_all_or_none(self) -> None:
        """One worker cannot use the configuration: none does, and the reason is reported once, with the slot."""
        gateway = self.fleet(3)
        await_serving(gateway, 3)
        config = gateway.config.read_text()
        limited = workers(gateway)[2]
        before = limited.rlimit(psutil.RLIMIT_NOFILE)
        limited.rlimit(psutil.RLIMIT_NOFILE, (limited.num_fds(), before[1]))
        gateway.configure(config.replace("[route all]\npath = /", "[route all]\npath = /only"))
        self.assertIn("not reloaded: worker 2: ", gateway.reload())
        limited.rlimit(psutil.RLIMIT_NOFILE, before)
        self.assertEqual({self.status_of(gateway, "/x") for _ in range(30)}, {200})
        self.assertEqual([one["generation"] for one in described(gateway)], [1, 1, 1])
        self.assertEqual(gateway.log.count("not reloaded: "), 1)
        with self.assertRaises(StartupError):
            gateway.configure(config.replace("auth = none", "auth = nobody"))
            asked(gateway, "reload")
        gateway.configure(config.replace("[route all]\npath = /", "[route all]\npath = /only"))
        self.assertEqual(asked(gateway, "reload")["generation"], 2)
        self.assertEqual({self.status_of(gateway, "/x") for _ in range(30)}, {404})
        self.assertEqual([one["generation"] for one in described(gateway)], [2, 2, 2])

    def test_new_listener_that_one_worker_cannot_use_is_closed_again(self) -> None:
        gateway = self.fleet(2)
        config = gateway.config.read_text()
        limited = workers(gateway)[1]
        before = limited.rlimit(psutil.RLIMIT_NOFILE)
        limited.rlimit(psutil.RLIMIT_NOFILE, (limited.num_fds(), before[1]))
        port = free_port()
        gateway.configure(config + f"\n[listener second]\nport = {port}\ninterface = 127.0.0.1\n")
        self.assertIn("not reloaded: ", gateway.reload())
        eventually(lambda: not listens(port), "the new listener is closed")
        limited.rlimit(psutil.RLIMIT_NOFILE, before)
        gateway.reload()
        self.assertTrue(listens(port))

    def test_port_that_is_taken_changes_nothing(self) -> None:
        gateway = self.fleet(2)
        config = gateway.config.read_text()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            gateway.configure(config.replace(f"port = {gateway['http']}", f"port = {port}"))
            self.assertIn(f"not reloaded: listener http: cannot listen on 127.0.0.1:{port}", gateway.reload())
        self.assertEqual(self.status_of(gateway), 200)

    def test_worker_that_dies_while_the_others_prepare_follows_the_new_configuration(self) -> None:
        """Worker 0 has prepared it, and dies before it is put in force. Worker 2 does not answer yet."""
        gateway = self.fleet(3)
        config = gateway.config.read_text()
        first, _, last = workers(gateway)
        last.suspend()
        gateway.configure(config.replace("[route all]\npath = /", "[route all]\npath = /only"))
        self.begin_reload(gateway)
        first.kill()
        eventually(lambda: not first.is_running(), "the end of the worker")
        last.resume()
        self.assertIn("STATUS=listening", gateway.await_notification("READY=1", 30))
        await_serving(gateway, 3)
        self.assertEqual([one["generation"] for one in described(gateway)], [2, 2, 2])
        self.assertEqual({self.status_of(gateway, "/x") for _ in range(30)}, {404})

    def test_worker_that_dies_while_it_prepares_changes_nothing(self) -> None:
        gateway = self.fleet(2)
        config = gateway.config.read_text()
        second = workers(gateway)[1]
        second.suspend()
        gateway.configure(config.replace("[route all]\npath = /", "[route all]\npath = /only"))
        self.begin_reload(gateway)
        second.kill()
        self.assertIn("not reloaded: worker 1: the other process has gone", gateway.await_notification("READY=1", 30))
        gateway.await_log("worker 1 has ended by SIGKILL")
        await_serving(gateway, 2)
        self.assertEqual({self.status_of(gateway, "/x") for _ in range(20)}, {200})
        self.assertEqual([one["generation"] for one in described(gateway)], [1, 1])

    def test_more_and_fewer_workers(self) -> None:
        held = Held()
        self.addCleanup(held.go.set)
        url = self.upstream(held).url
        gateway = self.gateway(self.config(2, url=url), USERS)
        kept = workers(gateway)
        gateway.configure(self.config(4, url=url))
        gateway.reload()
        await_serving(gateway, 4)
        flight = InFlight(gateway, held)
        gateway.configure(self.config(1, url=url))
        gateway.reload()
        states = ["serving", "draining", "draining", "draining"]
        eventually(lambda: [one["state"] for one in described(gateway)] == states, "one worker is left")
        self.assertEqual(self.status_of(gateway), 200)
        flight.finish()
        await_serving(gateway, 1)
        self.assertEqual([one.pid for one in workers(gateway)], [kept[0].pid])
        gateway.configure(self.config(3, url=url))
        gateway.reload()
        await_serving(gateway, 3)
        self.assertEqual([one["slot"] for one in described(gateway)], [0, 1, 2])

    def test_single_process_says_that_it_stays_one(self) -> None:
        gateway = self.fleet(1)
        gateway.configure(self.config(2))
        gateway.reload()
        gateway.await_log("workers = 2: this takes a restart")
        self.assertEqual(workers(gateway), [])
        self.assertEqual(self.status_of(gateway), 200)

    def test_state_dir_that_moves_takes_the_control_socket_along(self) -> None:
        gateway = self.fleet(2)
        gateway.configure(gateway.config.read_text().replace("state_dir = state", "state_dir = other"))
        gateway.reload()
        with self.assertRaises(NoGateway):
            asked(gateway, "status")
        (gateway.directory / "state").rename(gateway.directory / "gone")
        (gateway.directory / "state").symlink_to("other")
        await_serving(gateway, 2)


class SystemdTests(FleetCase):
    def test_only_the_manager_reports_and_the_watchdog_is_fed(self) -> None:
        gateway = self.unstarted(self.config(2), USERS, {"WATCHDOG_USEC": "3000000"})
        gateway.start()
        for _ in range(3):
            gateway.await_notification("WATCHDOG=1", 5)
        gateway.reload()
        gateway.signal(signal.SIGTERM)
        gateway.await_notification("STOPPING=1")
        self.assertEqual(gateway.wait(), -signal.SIGTERM)
        states = [
            line for one in gateway.notifications for line in one.split("\n") if line in ("READY=1", "RELOADING=1", "STOPPING=1")
        ]
        self.assertEqual(states, ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"])

    def test_ready_once_all_serve(self) -> None:
        gateway = self.fleet(3)
        self.assertEqual([one["state"] for one in described(gateway)], ["serving"] * 3)
        self.assertRegex(gateway.notifications[-1], r"STATUS=listening: http on port \d+ .*; 3 workers")


class ControlTests(FleetCase):
    def test_status_reload_and_stop(self) -> None:
        gateway = self.fleet(2)
        status = asked(gateway, "status")
        self.assertEqual(status["pid"], gateway.pid)
        self.assertEqual([one["slot"] for one in status["workers"]], [0, 1])
        self.assertEqual([one["pid"] for one in status["workers"]], [one.pid for one in workers(gateway)])
        with self.assertRaisesRegex(StartupError, "does not know the command"):
            asked(gateway, "dance")
        answer = asked(gateway, "reload")
        self.assertEqual(answer["generation"], 2)
        self.assertIn("listening: http", answer["status"])
        self.assertEqual(asked(gateway, "stop"), {})
        self.assertEqual(gateway.wait(START_TIMEOUT), 0)
        self.assertEqual(workers_left(gateway.config.as_posix()), [])

    def test_killed_worker_does_not_answer_and_the_next_one_does(self) -> None:
        gateway = self.fleet(2)
        workers(gateway)[0].kill()
        self.assertEqual(asked(gateway, "status", brief=True)["pid"], gateway.pid)


def listens(port: int) -> bool:
    """Whether a socket listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return False
    return True


def workers_left(config: str) -> list[int]:
    """Processes that have something to do with a configuration."""
    found = []
    for process in psutil.process_iter():
        try:
            if config in process.cmdline():
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


class SecrecyTests(FleetCase):
    def test_attack_83_the_manager_has_no_secret(self) -> None:
        """Neither its memory, nor the commands and the environment of any process, contain what site.ini says."""
        secret = "correct-horse-battery-staple"
        config = self.config(2) + f"\n# {secret}\n"
        gateway = self.gateway(config, USERS)
        gateway.reload()
        for process in (psutil.Process(gateway.pid), *workers(gateway)):
            told = " ".join(process.cmdline()) + str(process.environ())
            self.assertNotIn(secret, told)
        self.assertNotIn(secret.encode(), memory(gateway.pid))
        self.assertIn(b"perimeter.manager", memory(gateway.pid), "the memory was read")
        self.assertIn(secret.encode(), memory(workers(gateway)[0].pid), "a secret is found where it is")

    def test_attack_84_nothing_is_imported_from_the_present_directory(self) -> None:
        gateway = self.unstarted(self.config(2), USERS)
        for name in ("json", "socket", "attrs", "perimeter", "faulthandler", "sitecustomize"):
            (gateway.directory / f"{name}.py").write_text("import os; open('imported', 'w').close(); os._exit(3)\n")
        gateway.directory.joinpath("gateway.log").touch()
        # the test's own way of starting twistd is not at issue
        gateway._environ["PYTHONSAFEPATH"] = "1"
        gateway.start()
        gateway.reload()
        self.assertFalse((gateway.directory / "imported").exists())


def memory(pid: int) -> bytes:
    """All private writable memory of a process."""
    found = bytearray()
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            place, rights = line.split()[:2]
            if rights.startswith("rw") and "[v" not in line:
                start, end = (int(part, 16) for part in place.split("-"))
                mem.seek(start)
                found += mem.read(end - start)
    return bytes(found)
