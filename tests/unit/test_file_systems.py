"""The type of a file system by its mounts, and its space."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

from twisted.trial.unittest import TestCase

from perimeter.file_systems import FULL, is_network, space_at, type_of

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /mnt rw - tmpfs tmpfs rw
31 30 0:30 / /mnt/data\\040one rw shared:7 master:2 - nfs4 server:/data rw
32 30 0:31 / /mnt/data\\040one rw - xfs /dev/sdb rw
33 30 0:32 / /mnt/log rw - fuse.sshfs host:/ rw
a torn line
"""


class TypeTests(TestCase):
    def setUp(self) -> None:
        self.mounts = Path(self.mktemp())
        self.mounts.write_text(MOUNTS)

    def test_the_closest_mount_holds_and_the_last_of_two(self) -> None:
        for path, expected in (
            ("/usr/none", "ext4"),
            ("/mnt", "tmpfs"),
            ("/mntx", "ext4"),
        ):
            self.assertEqual(type_of(Path(path), self.mounts), expected, path)

    def test_a_path_that_does_not_exist_is_where_its_parent_is(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.mounts.write_text(MOUNTS + f"40 22 0:1 / {directory} rw - nfs4 server:/ rw\n")
        self.assertEqual(type_of(directory / "a" / "b", self.mounts), "nfs4")
        (directory / "link").symlink_to("/usr")
        self.assertEqual(type_of(directory / "link" / "x", self.mounts), "ext4")

    def test_names_with_blanks(self) -> None:
        directory = (Path(self.mktemp()) / "data one").absolute()
        directory.mkdir(parents=True)
        shown = str(directory).replace(" ", "\\040")
        self.mounts.write_text(MOUNTS + f"40 22 0:1 / {shown} rw - nfs4 s:/ rw\n41 22 0:1 / {shown} rw - xfs /dev/sdb rw\n")
        self.assertEqual(type_of(directory, self.mounts), "xfs")

    def test_without_a_table_the_type_is_not_known(self) -> None:
        self.assertEqual(type_of(Path("/"), self.mounts.with_name("none")), "")

    def test_this_machine(self) -> None:
        self.assertEqual(type_of(Path("/proc/self")), "proc")

    def test_network(self) -> None:
        for kind, expected in (("nfs", True), ("fuse.sshfs", True), ("fuse.glusterfs", True), ("ext4", False), ("", False)):
            self.assertEqual(is_network(kind), expected, kind)


class SpaceTests(TestCase):
    def space(self, free: int, blocks: int) -> tuple[bool, bool]:
        self.patch(os, "statvfs", lambda _: SimpleNamespace(f_bfree=free, f_bavail=free, f_frsize=1024, f_blocks=blocks))
        space = space_at(Path("/"))
        return space.full, space.almost_full

    def test_boundaries(self) -> None:
        blocks = FULL // 1024
        self.assertEqual(self.space(blocks - 1, 1), (True, True))
        self.assertEqual(self.space(blocks, 1), (False, False))
        self.assertEqual(self.space(999, 100_000), (False, True))
        self.assertEqual(self.space(1000, 100_000), (False, False))
