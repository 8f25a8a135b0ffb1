"""An upgrade of a gateway with several workers: the process executes the program that is installed, and no client notices."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from tests.integration.fleet import FleetCase, asked, await_serving, workers
from tests.integration.harness import USERS
from tests.integration.ports import eventually
from tests.integration.traffic import Held
from tests.integration.wire import Wire, basic

ALICE = basic("alice", "secret")


class UpgradeTests(FleetCase):
    def test_new_workers_serve_and_the_old_ones_finish(self) -> None:
        gateway = self.fleet(2)
        old = workers(gateway)
        lasting = self.connect(gateway, "http")
        self.assertEqual(lasting.get("/x").status, 200)
        failed: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    wire = Wire(gateway["http"], tls=False)
                    status = wire.get("/y").status
                    wire.close()
                except Exception as error:  # what it is will be in the message of the test
                    failed.append(repr(error))
                else:
                    if status != 200:
                        failed.append(str(status))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(2):
                before = workers(gateway)
                gateway.signal(signal.SIGUSR2)
                gateway.await_notification("RELOADING=1")
                gateway.await_notification("READY=1", 60)
                eventually(lambda before=before: not any(one.is_running() for one in before), "the end of the workers before", 30)
        finally:
            stop.set()
            asking.join()
        self.assertEqual(failed, [])
        self.assertEqual(len(workers(gateway)), 2)
        self.assertFalse({one.pid for one in old} & {one.pid for one in workers(gateway)})
        self.assertTrue(lasting.closed())
        self.assertEqual(self.connect(gateway, "http").get("/private", ALICE).status, 200)
        self.assertEqual(self.connect(gateway, "http").get("/private").status, 401)

    def test_a_fault_in_the_file_cancels_it(self) -> None:
        gateway = self.fleet(2)
        before = {one.pid for one in workers(gateway)}
        text = gateway.config.read_text()
        gateway.config.write_text(text + "\nnonsense = 1\n")
        gateway.signal(signal.SIGUSR2)
        gateway.await_log("not upgraded: ")
        self.assertIn("nonsense", gateway.log)
        self.assertEqual({one.pid for one in workers(gateway)}, before)
        self.assertEqual(self.connect(gateway, "http").get("/x").status, 200)
        gateway.config.write_text(text)

    def test_a_single_process_says_what_an_upgrade_needs(self) -> None:
        gateway = self.fleet(1)
        gateway.signal(signal.SIGUSR2)
        gateway.await_log("not upgraded: an upgrade without a pause needs several workers")
        done = self.perimeter("upgrade", "-c", str(gateway.config))
        self.assertEqual(done.returncode, 1)
        self.assertIn("needs several workers", done.stderr)
        self.assertEqual(self.connect(gateway, "http").get("/x").status, 200)

    def test_the_command_waits_until_the_new_workers_serve(self) -> None:
        gateway = self.fleet(2)
        before = {one.pid for one in workers(gateway)}
        done = self.perimeter("upgrade", "-c", str(gateway.config))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, f"upgraded: process {gateway.pid}\n")
        serving = {one.pid for one in workers(gateway)}
        self.assertFalse(serving & before and len(serving) == 2)

    def perimeter(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from perimeter.cli.main import main; main(prog_name='perimeter')", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def test_workers_of_the_program_before_serve_on_if_the_new_ones_do_not_start(self) -> None:
        gateway = self.fleet(2)
        before = {one.pid for one in workers(gateway)}
        # What only a worker opens: the process that checks the file does not see the fault.
        database = gateway.directory / "state" / "state.db"
        database.rename(database.with_suffix(".away"))
        database.mkdir(0o700)
        gateway.signal(signal.SIGUSR2)
        gateway.await_log("the workers of the new program do not start; the earlier ones continue to serve", 60)
        self.assertTrue(before <= {one.pid for one in workers(gateway)})
        for _ in range(4):
            self.assertEqual(self.connect(gateway, "http").get("/x").status, 200)
        database.rmdir()
        database.with_suffix(".away").rename(database)
        eventually(lambda: not before & {one.pid for one in workers(gateway)}, "the end of the workers before", 60)
        self.assertEqual(self.connect(gateway, "http").get("/private", ALICE).status, 200)

    def test_a_stop_during_an_upgrade_is_obeyed(self) -> None:
        for command in (False, True):
            held = Held()
            gateway = self.gateway(self.config(2, "drain_timeout = 3s", url=self.upstream(held).url), USERS)
            processes = workers(gateway)
            self.connect(gateway, "http").send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(held.begun.acquire(timeout=10))
            gateway.signal(signal.SIGUSR2)
            gateway.await_notification("RELOADING=1")
            if command:
                asked(gateway, "stop")
            else:
                gateway.signal(signal.SIGTERM)
            gateway.wait(15)
            held.go.set()
            self.assertEqual([one for one in processes if one.is_running()], [])
            gateway.stop()

    def test_a_stop_just_after_the_answer_is_obeyed(self) -> None:
        gateway = self.fleet(2)
        self.assertEqual(asked(gateway, "upgrade", python=sys.executable), {"pid": gateway.pid})
        asked(gateway, "stop")
        gateway.wait(15)

    def test_a_program_that_goes_away_after_it_was_checked_changes_nothing(self) -> None:
        gateway = self.fleet(2)
        before = {one.pid for one in workers(gateway)}
        program = gateway.directory / "python"
        program.write_text(f'#!/bin/sh\ncase "$*" in *"manager check"*) rm "$0";; esac\nexec {sys.executable} "$@"\n')
        program.chmod(0o755)
        asked(gateway, "upgrade", python=str(program))
        gateway.await_log(f"not upgraded: {program} cannot be executed")
        gateway.await_notification(f"STATUS=not upgraded: {program} cannot be executed: No such file or directory")
        self.assertEqual({one.pid for one in workers(gateway)}, before)
        self.assertFalse(asked(gateway, "status", brief=True)["upgrading"])
        self.assertEqual(asked(gateway, "reload")["generation"], 2)
        done = self.perimeter("upgrade", "-c", str(gateway.config))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        await_serving(gateway, 2)

    def test_a_refused_upgrade_does_not_report_that_the_gateway_is_ready(self) -> None:
        gateway = self.fleet(2)
        gateway.signal(signal.SIGUSR2)
        gateway.await_notification("RELOADING=1")
        gateway.signal(signal.SIGUSR2)
        gateway.await_log("not upgraded: the gateway starts, stops")
        self.assertIn("STATUS=listening: ", gateway.await_notification("READY=1", 60))
