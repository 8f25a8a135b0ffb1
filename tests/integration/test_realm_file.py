"""Realm files with the hashes that people have, beside a running gateway: logins, better hashes, editors, and crowds."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from perimeter.auth.passwords.users import read_users
from tests.integration.harness import Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import TIMEOUT, basic

ROUTES = "[upstream sample]\nservers = sample:\n\n[route app]\npath = /\nupstream = sample\n"

HASHES = {
    "apr1": ("$apr1$1X8/CNxQ$IpaBygJGAQr3DJdr3kSBj1", "secret"),
    "md5crypt": ("$1$abcdefgh$l/LAqC8oJERu7Cmx6trtY/", "admin"),
    "sha256": ("$5$rounds=1000$abcdefgh$U4dALHiE1LXMxY5ZpGUfgVnoxC3Y5jRx.egoM/qSTS5", "admin"),
    "sha512": (
        "$6$rounds=1000$abcdefgh$C9ePO7xfkdNkmX30TMprFC87F.ZzQcgxBJMpfNuNGhmsUk1PcnwZJ4vKFo6AoKBm/95qIf/K38842MOQlVokz0",
        "admin",
    ),
    "sha": ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"),
    "ssha": ("{SSHA}XBQkbQhW2IuAU6efu7FnwJvyajhDKCUE", "secret"),
    "django": ("pbkdf2_sha256$10$AgvmkIhAHCJm$aj25+BaFVfCohq9TjUB5RXIKJEyL/eDJhE6TZpn8mEI=", "secret"),
    "crypt": ("{CRYPT}adpexzg3FUZAk", "admin"),
    "text": ("hunter2", "hunter2"),
}
USERS = "# the users\n" + "".join(f"{name}: {hashed},role-{name}\n" for name, (hashed, _) in HASHES.items())


class RealmFileCase(GatewayCase):
    def serve(self, users: str, options: str = "", authentication: str = "") -> Gateway:
        text = site(ROUTES, extra=f"[authentication]\n{authentication}" if authentication else "")
        text = text.replace("path = users.realm\n", f"path = users.realm\n{options}")
        gateway = self.gateway(text, {"users.realm": users})
        self.file: Path = gateway.directory / "users.realm"
        return gateway

    def status(self, gateway: Gateway, name: str, password: str, timeout: float = TIMEOUT) -> int:
        with gateway.connect("http") as wire:
            wire.socket.settimeout(timeout)
            return wire.get("/", basic(name, password)).status

    def schemes(self) -> dict[str, str]:
        return {name: user.password.scheme for name, user in read_users(self.file.read_bytes(), "f").by_name.items()}


class HashTests(RealmFileCase):
    def test_each_hash_lets_its_user_in_and_is_reported_with_its_line(self) -> None:
        gateway = self.serve(USERS)
        for line, (name, (hashed, password)) in enumerate(HASHES.items(), 2):
            self.assertEqual(self.status(gateway, name, password), 200, name)
            self.assertEqual(self.status(gateway, name, "wrong"), 401, name)
            self.assertEqual(self.status(gateway, name, hashed), 200 if name == "text" else 401, name)
            gateway.await_log(f"users.realm:{line}: the password of user '{name}' is kept as")
        self.assertEqual(self.file.read_text(), USERS)

    def test_attack_69_a_hash_or_a_mark_is_no_password(self) -> None:
        for text in ("adpexzg3FUZAk", "*", "!", "x", "$P$984478476IagS59wHZvyQMArzfx58u.", "{SSHA512}x", "ab" * 16):
            gateway = self.unstarted(site(ROUTES), {"users.realm": f"alice: secret\nbob: {text},admin\n"})
            gateway.launch()
            self.assertNotEqual(gateway.wait(), 0, text)
            self.assertIn("users.realm:2: the password of user 'bob' is ", gateway.log)
            self.assertNotIn("{plain}", gateway.log)
            gateway.kill()


class RehashTests(RealmFileCase):
    def test_logins_improve_the_file_beside_an_editor(self) -> None:
        """Nothing is lost of what an editor writes at the same time, in place or as a new file."""
        gateway = self.serve(USERS, "rehash = yes\n")
        self.file.chmod(0o640)
        over = threading.Event()
        written: list[str] = []

        def edit() -> None:
            while not over.is_set() and len(written) < 200:
                name = f"new{len(written)}"
                data = self.file.read_bytes()
                fresh = self.file.with_suffix(".new")
                fresh.write_bytes(data + f"{name}: hunter2\n".encode())
                fresh.chmod(0o640)
                if self.file.read_bytes() == data:  # as careful editors do
                    os.replace(fresh, self.file)
                    written.append(name)
                time.sleep(0.02)

        editor = threading.Thread(target=edit)
        editor.start()
        try:
            for _ in range(3):
                for name, (_, password) in HASHES.items():
                    self.assertEqual(self.status(gateway, name, password), 200, name)
        finally:
            over.set()
            editor.join()

        def improved() -> bool:
            for name, (_, password) in HASHES.items():
                self.assertEqual(self.status(gateway, name, password), 200, name)
            return {self.schemes()[name] for name in HASHES} == {"argon2id"}

        eventually(improved, "all hashes to be argon2id")
        users = read_users(self.file.read_bytes(), "f").by_name
        self.assertEqual([user.roles for name, user in users.items() if name in HASHES], [(f"role-{name}",) for name in HASHES])
        self.assertGreater(len(written), 5)
        self.assertEqual([name for name in users if name.startswith("new")], written)
        self.assertTrue(self.file.read_text().startswith("# the users\n"))
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o640)
        self.assertEqual([path.name for path in self.file.parent.glob(".users*")], [])

    def test_a_file_that_cannot_be_changed_is_a_warning(self) -> None:
        gateway = self.serve(USERS, "rehash = yes\n")
        os.link(self.file, self.file.with_name("another"))
        self.assertEqual(self.status(gateway, "ssha", "secret"), 200)
        gateway.await_log("a password stays as it was, though rehash = yes")
        self.assertEqual(self.status(gateway, "ssha", "secret"), 200)
        self.assertEqual(self.file.read_text(), USERS)
