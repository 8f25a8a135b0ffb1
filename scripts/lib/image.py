"""Takes the steps of the Dockerfile without a container engine, and tries the result. Called by ``scripts/image``.

``FROM debian:RELEASE-slim`` is a folder made by debootstrap, ``FROM scratch`` an empty one; RUN is chroot. Only what the
Dockerfile of this project uses is known; anything else is an error. The build stage also gets what this machine needs to reach
its mirrors.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: how this machine reaches its mirrors; not part of the image
MIRRORS = ("PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "http_proxy", "https_proxy", "no_proxy")
FOR_MIRRORS = ("/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


#: runs a command in a folder: folder, directory, user, group, variables, --, command
ENTER = """
import os, sys
folder, directory, user, group = sys.argv[1:5]
end = sys.argv.index("--")
os.chroot(folder)
os.chdir(directory)
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
os.environ.clear()
os.environ.update(one.split("=", 1) for one in sys.argv[5:end])
os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
"""


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile: the word in capitals, and the rest of the line."""
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        yield word.upper(), rest.strip()


class Stage:
    """A stage of the build in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        self.directory = "/"
        self.user = "0:0"
        self.commands: dict[str, list[str]] = {}

    def command(self, arguments: list[str], **more: str) -> list[str]:
        """The command line that runs ``arguments`` in the stage."""
        settings = [f"{name}={value}" for name, value in {**self.environment, **more}.items()]
        user, _, group = self.user.partition(":")
        return [sys.executable, "-c", ENTER, str(self.folder), self.directory, user, group or user, *settings, "--", *arguments]


def build(dockerfile: Path, work: Path) -> Stage:
    """Build every stage below ``work``; returns the last one."""
    stages: dict[str, Stage] = {}
    stage = Stage(work)
    for word, rest in instructions(dockerfile.read_text()):
        print(f"image: {word} {rest}", flush=True)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = Stage(work / (name or "image"))
            stages[name] = stage
            _base(base, stage.folder)
        elif word == "RUN":
            _reach_mirrors(stage.folder)
            more = {name: os.environ[name] for name in MIRRORS if name in os.environ}
            subprocess.run(stage.command(["sh", "-c", rest], **more), check=True, stdin=subprocess.DEVNULL)
        elif word == "COPY":
            _copy(stage, stages, dockerfile.parent, rest.split())
        elif word == "ENV":
            stage.environment.update(one.split("=", 1) for one in rest.split())  # type: ignore[arg-type]
        elif word == "WORKDIR":
            stage.directory = rest
            (stage.folder / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = rest
        elif word in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            stage.commands[word] = json.loads(rest[rest.index("[") :])
        elif word not in ("EXPOSE", "STOPSIGNAL"):
            raise SystemExit(f"image: {word} is not known here")
    return stage


def _base(base: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    if base == "scratch":
        return
    release = re.fullmatch(r"debian:(\w+)-slim", base)
    if release is None:
        raise SystemExit(f"image: the base {base} is not known here")
    mirror = next(
        (
            line.split()[1]
            for file in sorted(Path("/etc/apt/sources.list.d").glob("*.sources"))
            for line in file.read_text().splitlines()
            if line.startswith("URIs:")
        ),
        "",
    )
    command = ["debootstrap", "--variant=minbase", release[1], str(folder), *([mirror] if mirror else [])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for file in Path("/etc/apt/apt.conf.d").iterdir():
        if not (folder / "etc/apt/apt.conf.d" / file.name).exists():
            shutil.copyfile(file, folder / "etc/apt/apt.conf.d" / file.name)
    with (folder / "etc/apt/apt.conf.d/99-sandbox").open("w") as sandbox:
        sandbox.write('APT::Sandbox::User "root";\n')  # a chroot has no user namespaces


def _reach_mirrors(folder: Path) -> None:
    """Again before each step: a package may have brought its own certificates."""
    named = (os.environ.get(name, "") for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    for name in (*FOR_MIRRORS, *named):
        if Path(name).is_file():
            target = folder / name.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, target)


def _copy(stage: Stage, stages: dict[str, Stage], context: Path, words: list[str]) -> None:
    origin = context
    if words[0].startswith("--from="):
        origin = stages[words.pop(0).partition("=")[2]].folder
    source, target = words
    into = stage.folder / os.path.join(stage.directory, target).lstrip("/")
    if origin is context and source == ".":
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=context, check=True, capture_output=True, text=True).stdout
        ignored = {line.strip("/") for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"}
        for name in filter(None, listed.split("\0")):
            if name.split("/")[0] not in ignored:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(context / name, into / name)
        return
    place = origin / source.lstrip("/")
    if place.is_dir():
        # cp, and not shutil: it keeps the owners
        subprocess.run(["cp", "--archive", f"{place}/.", f"{into}/"], check=True)
    else:
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(place, into)


SITE = """\
[listener https]
port = {port}
interface = 127.0.0.1
tls = yes

[perimeter]
state_dir = /var/lib/perimeter
drain_timeout = 5s

[upstream sample]
servers = sample:

[authenticator local]
type = realmfile
path = users.realm

[route public]
path = /public
upstream = sample
auth = none

[route all]
path = /
upstream = sample

[audit]
path = /var/log/perimeter/access.log
"""


def attempt(image: Stage) -> None:
    """Run the image's commands as its user, with a configuration. Raises AssertionError for what does not work."""
    folder = image.folder
    unwanted = ("bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/apt-get", "usr/bin/dpkg")
    shells = [name for name in unwanted if (folder / name).exists()]
    assert not shells, f"the image has {shells}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "etc/perimeter"
    (folder / "dev").mkdir(exist_ok=True)
    for name, minor in (("null", 3), ("urandom", 9)):
        os.mknod(folder / "dev" / name, 0o20666, os.makedev(1, minor))
        (folder / "dev" / name).chmod(0o666)
    (folder / "proc").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(folder / "proc")], check=True)
    try:
        missing = _run(image, [])
        assert missing.returncode != 0, "it starts without a configuration"
        assert "/etc/perimeter/site.ini" in missing.stderr, missing.stderr
        (settings / "site.ini").write_text(SITE.format(port=port))
        (settings / "users.realm").write_text("alice: wonderland\n")
        (settings / "users.realm").chmod(0o644)
        command = [*image.commands["ENTRYPOINT"], *image.commands["CMD"]]
        with subprocess.Popen(image.command(command), stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True) as running:
            try:
                assert _status(port, "/public") == 200, "it does not serve"
                assert _status(port, "/x") == 401, "it lets strangers in"
                health = _run(image, image.commands["HEALTHCHECK"], entry=False)
                assert health.returncode == 0, health.stdout + health.stderr
                began = time.monotonic()
                running.send_signal(signal.SIGTERM)
                ended = running.wait(15)
                assert ended in (0, -signal.SIGTERM), f"it does not stop in order, but with {ended}"
                print(f"image: stopped after {time.monotonic() - began:.1f} s")
                health = _run(image, image.commands["HEALTHCHECK"], entry=False)
                assert health.returncode != 0, "the health check passes without a gateway"
            except BaseException:
                running.kill()
                print(running.communicate()[0], file=sys.stderr)
                raise
        records = (folder / "var/log/perimeter/access.log").read_text().splitlines()
        assert len(records) >= 2, records
    finally:
        subprocess.run(["umount", str(folder / "proc")], check=True)
    size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"image: works; {size / 2**20:.0f} MiB")


def _run(image: Stage, arguments: list[str], *, entry: bool = True) -> subprocess.CompletedProcess[str]:
    whole = [*image.commands["ENTRYPOINT"], *(arguments or image.commands["CMD"])] if entry else arguments
    return subprocess.run(image.command(whole), capture_output=True, text=True, timeout=60, check=False)


def _status(port: int, path: str) -> int:
    insecure: Any = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=insecure, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            return refusal.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main() -> int:
    """Build, try, and remove the folder unless one was named."""
    parser = argparse.ArgumentParser(prog="scripts/image")
    parser.add_argument("folder", nargs="?", type=Path, help="where to build; it stays")
    arguments = parser.parse_args()
    if os.geteuid() or shutil.which("debootstrap") is None:
        raise SystemExit("scripts/image needs root and debootstrap")
    work = arguments.folder or Path(tempfile.mkdtemp(prefix="perimeter-image."))
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o755)
    try:
        attempt(build(Path("Dockerfile").resolve(), work))
    finally:
        if arguments.folder is None:
            shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
