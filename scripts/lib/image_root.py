"""Fills a folder with the files of the container image: ``image_root.py FOLDER``, called by the Dockerfile in its build stage.

They are the interpreter with its standard library, the virtual environment of the gateway, the shared libraries that these load,
the certificates of the public CAs, the time zones, and the directories of the gateway, which belong to its user. No shell.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from perimeter.interpreter import built_with_pgo

USER = 10001
PREFIX = Path(sys.prefix)
LIBRARY = re.compile(r"(/\S+) \(0x")
"""A library in the output of ldd."""

#: parts of the standard library that no daemon uses
LEFT_OUT = ("idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "__pycache__")

PASSWD = f"root:x:0:0::/:/nonexistent\nperimeter:x:{USER}:{USER}::/var/lib/perimeter:/nonexistent\n"
GROUP = f"root:x:0:\nperimeter:x:{USER}:\n"


def main(folder: Path) -> int:
    """Copy everything. Ends with 1 if the interpreter was built without profile-guided optimization."""
    if not built_with_pgo():
        print("the interpreter was built without profile-guided optimization", file=sys.stderr)
        return 1
    interpreter = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
    for tree in (library, PREFIX):
        shutil.copytree(
            tree, into(folder, tree), symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_OUT, "pip", "pip-*")
        )
    copy(folder, interpreter)
    for link in (Path("/usr/bin/python3"), Path("/usr/bin") / interpreter.name):
        if link.is_symlink() and not into(folder, link).is_symlink():
            into(folder, link).symlink_to(os.readlink(link))
    for name in ("bin", "lib", "lib64"):  # as Debian has it: the loader is asked for at /lib64
        (folder / "usr" / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(f"usr/{name}")
    for one in libraries([interpreter, *library.rglob("*.so"), *PREFIX.rglob("*.so*")]):
        copy(folder, one)
    for tree in (Path("/etc/ssl/certs"), Path("/usr/share/zoneinfo")):
        shutil.copytree(tree, into(folder, tree), symlinks=False, dirs_exist_ok=True)
    (folder / "etc" / "passwd").write_text(PASSWD)
    (folder / "etc" / "group").write_text(GROUP)
    (folder / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "compileall",
            "-q",
            "-s",
            str(folder),
            "-p",
            "/",
            str(into(folder, PREFIX)),
            str(into(folder, library)),
        ],
        check=True,
    )
    (folder / "etc" / "perimeter").mkdir()
    for name in ("var/lib/perimeter", "var/log/perimeter"):
        (folder / name).mkdir(parents=True)
        os.chown(folder / name, USER, USER)
        (folder / name).chmod(0o700)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    return 0


def libraries(files: list[Path]) -> set[Path]:
    """The shared libraries that ``files`` load, and the loader."""
    found = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    return {path for path in map(Path, LIBRARY.findall(found)) if PREFIX not in path.parents}


def copy(folder: Path, file: Path) -> None:
    """Copy a file, under its name and with what the name leads to."""
    target = into(folder, Path(os.path.realpath(file.parent)) / file.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(file, target)


def into(folder: Path, path: Path) -> Path:
    """The place of ``path`` in the image."""
    return folder / path.relative_to("/")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
