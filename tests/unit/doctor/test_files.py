"""Who may read and change files, by their modes; and where they are."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from perimeter import file_systems
from perimeter.doctor import files
from perimeter.doctor.subject import GatewayUser, gateway_user
from tests.unit.doctor.examined import SITE, ExaminedCase


class PermissionTests(ExaminedCase):
    def seen(self, text: str = SITE, user: GatewayUser | None = None) -> list[tuple[str, str, str]]:
        subject = self.subject(text, user=user)
        looks = (files.state, files.secrets, files.changeable, files.unusable)
        return self.said([finding for look in looks for finding in look(subject)])

    def test_good_modes(self) -> None:
        self.file("state/keyring.json", "{}")
        self.file("state/selfsigned.crt", "x", 0o644)
        self.file("access.log", "", 0o640)
        self.assertEqual(self.seen(), [])

    def test_secrets_that_others_may_read(self) -> None:
        self.file("state/keyring.json", "{}", 0o640)
        self.file("users.realm", "alice: {plain}horse-battery-staple\n", 0o644)
        secret = self.file("secret", "0123456789abcdef\n", 0o604)
        self.assertEqual(
            self.seen(SITE.replace("[audit]", "authorization = bearer file:secret\n\n[audit]")),
            [
                ("file-readable", "open", "state/keyring.json"),
                ("file-readable", "open", "secret"),
                ("file-readable", "soon", "users.realm"),
            ],
        )
        secret.chmod(0o640)  # a group is trusted with it
        (self.directory / "users.realm").chmod(0o600)
        (self.directory / "state" / "keyring.json").chmod(0o600)
        self.assertEqual(self.seen(SITE.replace("[audit]", "authorization = bearer file:secret\n\n[audit]")), [])

    def test_a_configuration_with_secrets_in_it(self) -> None:
        text = SITE.replace("[audit]", "authorization = bearer 0123456789abcdef\n\n[audit]")
        self.assertEqual(self.seen(text), [])
        self.subject(text)
        (self.directory / "site.ini").chmod(0o644)
        self.patch(self, "file", lambda name, content, mode=0o644: self.directory / name)
        self.assertEqual(self.seen(text), [("file-readable", "open", "site.ini")])

    def test_a_keytab_that_others_may_read(self) -> None:
        text = self.with_tickets()
        self.assertEqual(self.seen(text), [])
        (self.directory / "http.keytab").chmod(0o644)
        self.assertEqual(self.seen(text), [("file-readable", "open", "http.keytab")])

    def test_what_others_may_change_or_replace(self) -> None:
        self.file("users.realm", "alice: {plain}horse-battery-staple\n", 0o602)
        self.file("access.log", "", 0o662)
        self.directory.chmod(0o757)
        self.addCleanup(self.directory.chmod, 0o755)
        expected = [
            ("file-writable", "open", "users.realm"),
            ("file-writable", "open", "access.log"),
            ("directory-writable", "open", str(self.directory)),
        ]
        self.assertEqual(self.seen(), expected)
        self.directory.chmod(0o1777)  # as /tmp: others may add files, and replace none
        self.assertEqual(self.seen(), expected[:2])

    def test_the_directory_behind_a_link_counts(self) -> None:
        real = self.directory / "real"
        real.mkdir()
        real.chmod(0o777)
        (real / "users").write_text("alice: {plain}horse-battery-staple\n")
        (real / "users").chmod(0o600)
        (self.directory / "link").symlink_to(real / "users")
        found = self.seen(SITE.replace("users.realm", "link"))
        self.assertEqual(found, [("directory-writable", "open", "real")])

    def test_what_the_gateways_user_may_not_use(self) -> None:
        self.file("state/keyring.json", "{}")
        other = GatewayUser(os.geteuid() + 4711, frozenset((4711,)), "gateway")
        names = {(name, subject) for name, _, subject in self.seen(user=other)}
        expected = {("file-unreadable", "users.realm"), ("file-unreadable", "site.ini"), ("file-unwritable", "state")}
        self.assertTrue(expected <= names, names)

    def test_a_socket_that_the_gateways_user_may_not_connect_to(self) -> None:
        path = self.directory / "app.sock"
        text = SITE.replace("http://127.0.0.1:8888", "unix:/run/none.sock, unix:/tmp/dial.sock")
        subject = self.subject(text)
        (upstream,) = subject.config.upstreams
        servers = (upstream.servers[0], attrs.evolve(upstream.servers[1], path=str(path)))
        config = attrs.evolve(subject.config, upstreams=(attrs.evolve(upstream, servers=servers),))
        path.write_text("")  # its mode is what counts
        path.chmod(0o700)
        self.assertEqual(list(files.sockets(attrs.evolve(subject, config=config))), [])
        other = GatewayUser(os.geteuid() + 4711, frozenset(), "gateway")
        (finding,) = files.sockets(attrs.evolve(subject, config=config, user=other))
        self.assertEqual(self.said([finding]), [("file-unwritable", "fails", "app.sock")])
        self.assertIn("may not connect to", finding.message)

    def test_a_state_dir_that_cannot_be_made(self) -> None:
        other = GatewayUser(os.geteuid() + 4711, frozenset(), "gateway")
        names = {(name, grade, subject) for name, grade, subject in self.seen(user=other)}
        self.assertIn(("file-unwritable", "down", str(self.directory)), names)
        self.assertNotIn("file-unwritable", [name for name, _, _ in self.seen()])


class UserTests(ExaminedCase):
    def test_modes_of_the_path_and_its_parents(self) -> None:
        path = self.file("a/b", "x", 0o640)
        status = path.stat()
        for parent in path.parents:
            if not parent.stat().st_mode & 0o001:  # a directory of this machine that others may not enter
                parent_open = False
                break
        else:
            parent_open = True
        (self.directory / "a").chmod(0o711)
        stranger = GatewayUser(status.st_uid + 4711, frozenset(), "stranger")
        member = GatewayUser(status.st_uid + 4711, frozenset((status.st_gid,)), "member")
        self.assertFalse(stranger.may(path, os.R_OK))
        self.assertFalse(member.may(path, os.W_OK))
        self.assertFalse(member.may(path, os.R_OK | os.W_OK))
        if parent_open:
            self.assertTrue(member.may(path, os.R_OK))
            path.chmod(0o604)
            self.assertTrue(stranger.may(path, os.R_OK))
            self.assertFalse(member.may(path, os.R_OK))
            (self.directory / "a").chmod(0o700)
            self.assertFalse(stranger.may(path, os.R_OK))

    def test_who_the_gateway_runs_as(self) -> None:
        mine = os.geteuid()
        self.assertEqual(gateway_user(self.directory / "none").uid, mine)
        self.assertEqual(gateway_user(self.directory).uid, self.directory.stat().st_uid)
        self.assertEqual(gateway_user(self.directory / "none", os.getpid()).uid, mine)
        self.assertEqual(gateway_user(self.directory, 1).uid, Path("/proc/1").stat().st_uid)


class FileSystemTests(ExaminedCase):
    def seen(self, kind: str, workers: int = 1) -> list[tuple[str, str, str]]:
        mounts = self.file("mounts", f"22 1 8:1 / / rw - ext4 /dev/sda rw\n23 22 0:9 / {self.directory} rw - {kind} x rw\n")
        self.patch(file_systems.type_of, "__defaults__", (mounts,))
        return self.said(list(files.file_systems(self.subject(SITE.replace("state_dir", f"workers = {workers}\nstate_dir")))))

    def test_where_the_state_and_the_logs_are(self) -> None:
        self.assertEqual(self.seen("ext4"), [])
        self.assertEqual(
            self.seen("nfs4"), [("state-shared", "soon", f"{self.directory}/state".removeprefix(f"{self.directory}/"))]
        )
        self.assertEqual(self.seen("nfs", workers=2), [("state-shared", "soon", "state"), ("audit-shared", "soon", "access.log")])
        for kind in ("tmpfs", "overlay"):
            self.assertEqual(self.seen(kind), [("state-volatile", "soon", "state")])

    def test_full(self) -> None:
        space = file_systems.Space(file_systems.FULL, 10**12)
        self.patch(files, "space_at", lambda path: space)
        self.assertEqual(self.seen("ext4"), [("disk-full", "soon", "access.log"), ("disk-full", "soon", "state")])
        space = file_systems.Space(file_systems.FULL - 1, 10**12)
        self.assertEqual(self.seen("ext4")[0], ("disk-full", "down", "access.log"))
