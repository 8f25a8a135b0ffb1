"""Two gateways with one state: what one of them gives or takes away holds at the other one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from tests.integration.cluster import ALICE, BOB, LISTENERS, ROUTES, USERS, Cluster, ClusterCase
from tests.integration.each_worker import worker_processes
from tests.integration.fleet import asked, await_serving
from tests.integration.harness import SOURCE, Gateway, GatewayCase, site
from tests.integration.stage import answering


class TokenTests(ClusterCase):
    def test_a_token_made_at_one_gateway_is_good_at_the_other_at_once(self) -> None:
        token = self.cluster.made("one")["token"]
        self.assertEqual(self.cluster.status("two", token), 200)
        self.assertEqual(self.cluster.status("one", token), 200)

    def test_a_token_that_is_removed_at_one_gateway_is_refused_by_the_other_within_a_second(self) -> None:
        made = self.cluster.made("one")
        self.assertEqual(self.cluster.status("one", made["token"]), 200)
        self.assertEqual(self.cluster.status("two", made["token"]), 200)
        self.assertEqual(self.cluster.ended("two", made["id"]), 204)
        answered = time.monotonic()
        while self.cluster.status("one", made["token"]) == 200:
            self.assertLess(time.monotonic() - answered, 1.0)
        self.assertEqual(self.cluster.status("one", made["token"]), 401)
        self.assertEqual(self.cluster.status("two", made["token"]), 401)


class WorkerTests(ClusterCase):
    """Two machines with two workers each."""

    @classmethod
    def start_cluster(cls) -> Cluster:
        return Cluster(perimeter="workers = 2\n")

    def statuses(self, name: str, token: str) -> set[int]:
        """The statuses of as many connections as surely meet both workers."""
        return {self.cluster.status(name, token) for _ in range(12)}

    def test_what_one_worker_gives_and_takes_away_holds_in_all_workers_of_all_machines(self) -> None:
        for _ in range(3):
            made = self.cluster.made("one")
            for name in ("one", "two"):
                self.assertEqual(self.statuses(name, made["token"]), {200})
            self.assertEqual(self.cluster.ended("two", made["id"]), 204)
            time.sleep(0.3)  # less than the second that it may take
            for name in ("one", "two"):
                self.assertEqual(self.statuses(name, made["token"]), {401})

    def test_all_tokens_of_a_user_end_in_all_workers(self) -> None:
        access, made = self.cluster.access_token("one", BOB), self.cluster.made("two", BOB)
        self.assertEqual(self.statuses("one", access), {200})
        command = {"command": "revoke", "ids": [], "user": "bob", "realm": "local", "token": None}
        asked(self.cluster.gateways["two"], **command)
        time.sleep(0.3)
        for name in ("one", "two"):
            self.assertEqual(self.statuses(name, access) | self.statuses(name, made["token"]), {401})

    def test_another_worker_follows_when_the_one_that_did_is_killed(self) -> None:
        gateway = self.cluster.gateways["two"]
        made = self.cluster.made("one")
        self.assertEqual(self.statuses("two", made["token"]), {200})
        leader = worker_processes(gateway)[0]
        leader.kill()
        self.assertEqual(self.cluster.ended("one", made["id"]), 204)
        answered = time.monotonic()
        while 200 in {self.try_status("two", made["token"]) for _ in range(4)}:
            self.assertLess(time.monotonic() - answered, 5.0)
        await_serving(gateway, 2)
        again = self.cluster.made("two")
        self.assertEqual(self.statuses("two", again["token"]) | self.statuses("one", again["token"]), {200})

    def try_status(self, name: str, token: str) -> int:
        """As `Cluster.status`, 0 if the connection was that of a worker that has ended."""
        try:
            return self.cluster.status(name, token)
        except (OSError, EOFError):
            return 0


class CopyTests(GatewayCase):
    """A machine that had its state in a file gets a Redis."""

    def test_tokens_and_revocations_go_on_after_the_state_was_copied(self) -> None:
        gateway = self.gateway(site(ROUTES.replace("<app>", self.upstream(answering).url), extra=LISTENERS), USERS)
        made, ended = (self.made(gateway) for _ in range(2))
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get(f"/token/{ended['id']}", ALICE, method="DELETE").status, 204)
        gateway.stop()
        key = (gateway.directory / "state" / "secrets.key").read_bytes().hex()
        cluster = Cluster(("one",), secret_lines=f"secrets.key:{key}\n")
        self.addCleanup(cluster.close)
        for _ in range(2):  # to copy twice does no harm
            done = self.copied(cluster, gateway)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("copied: 1 API tokens and sessions", done.stdout)
        self.assertEqual([cluster.status("one", one["token"]) for one in (made, ended)], [200, 401])
        secret = cluster.directory / "cluster.secret"
        secret.write_text(secret.read_text().replace(f"secrets.key:{key}\n", ""))
        done = self.copied(cluster, gateway)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("are good on other machines only if cluster_secret has this key", done.stderr)

    def copied(self, cluster: Cluster, gateway: Gateway) -> subprocess.CompletedProcess[str]:
        config, directory = cluster.gateways["one"].config, gateway.directory / "state"
        program = [sys.executable, "-c", "from perimeter.cli.main import main; main()"]
        command = [*program, "copy-state", "-c", str(config), str(directory)]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=SOURCE)

    def made(self, gateway: Gateway) -> dict[str, Any]:
        with gateway.connect("http") as wire:
            response = wire.get("/tokens", ALICE, "Content-Type: application/json", method="POST", body=b'{"name": "ci"}')
        return dict(json.loads(response.body))
