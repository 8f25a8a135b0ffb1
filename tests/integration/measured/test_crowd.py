"""Users who log in at once: the queue of password hashes is bounded by time, so other tests must not take the processors."""

from __future__ import annotations

import threading

import bcrypt

from tests.integration import test_realm_file


class CrowdTests(test_realm_file.RealmFileCase):
    def test_all_users_who_log_in_at_once_get_in(self) -> None:
        """Their hashes together take longer than the timeout of the authenticator."""
        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()
        names = [f"user{number}" for number in range(120)]
        gateway = self.serve("".join(f"{name}: {hashed}\n" for name in names), authentication="timeout = 1s\n")
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda name=name: statuses.append(self.status(gateway, name, "secret", 120)))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(statuses, [200] * len(names))
