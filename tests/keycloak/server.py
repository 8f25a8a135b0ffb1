"""A Keycloak of the tests: its distribution from Maven Central, a process with its data in memory, and a realm.

Maven downloads the distribution once, into the directory of the test peers. Keycloak needs Java 17 or later.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from unittest import SkipTest

import requests

from tests.integration.ports import eventually, free_port

VERSION = "26.7.3"
ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy"

DOWNLOAD_TIMEOUT = 900.0
START_TIMEOUT = 180.0
"""Seconds; Keycloak starts in about twenty on two cores."""
TIMEOUT = 30.0

ADMIN = "admin"


def distribution() -> Path:
    """The unpacked distribution. Raises `SkipTest` without Java or Maven."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise SkipTest(f"{program} not installed: scripts/install-test-peers installs all that is needed")
    peers = Path(os.environ.get("PERIMETER_TEST_PEERS") or Path.home() / ".cache" / "perimeter-test-peers")
    place = peers / "keycloak"
    place.mkdir(parents=True, exist_ok=True)
    unpacked = place / f"keycloak-{VERSION}"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (unpacked / "version.txt").exists():
            _unpack(_downloaded(place), place)
    return unpacked


def _downloaded(place: Path) -> Path:
    """The archive, verified by its hash."""
    command = ["mvn", "--batch-mode", "--quiet", PLUGIN, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={place}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_TIMEOUT)
    archive = place / f"keycloak-quarkus-dist-{VERSION}.zip"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise AssertionError(f"{archive} has the hash {found}")
    return archive


def _unpack(archive: Path, place: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(place)  # its hash was verified
    (place / f"keycloak-{VERSION}" / "bin" / "kc.sh").chmod(0o755)
    archive.unlink()


class Keycloak:
    """A process of Keycloak on a free port. ``trusted`` is a PEM file of CAs that it trusts for back-channel logout.

    `close` ends it.
    """

    def __init__(self, directory: Path, trusted: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "keycloak.log"
        home = directory / "keycloak"
        # Keycloak writes into its directory
        shutil.copytree(distribution(), home)
        options = [
            "--db=dev-mem",
            "--cache=local",
            "--http-host=127.0.0.1",
            f"--http-port={self.port}",
            f"--truststore-paths={trusted}",
        ]
        environ = os.environ | {"KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN, "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(home / "bin" / "kc.sh"), "start-dev", *options],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            eventually(self._up, "Keycloak answers", START_TIMEOUT)
        except BaseException:
            self.close()
            raise

    def _up(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"Keycloak ended: {self.log.read_text(errors='replace')[-2000:]}")
        try:
            return requests.get(f"{self.url}/realms/master", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    # -- what an administrator does

    def import_realm(self, realm: dict[str, Any]) -> None:
        """Create a realm from its export."""
        self._admin("POST", "/admin/realms", realm)

    def remove_realm(self, realm: str) -> None:
        """Remove a realm, with its users and sessions."""
        self._admin("DELETE", f"/admin/realms/{realm}")

    def change_client(self, realm: str, client: str, **changes: Any) -> None:
        """Change members of a client; ``attributes`` are added to those that it has."""
        (found,) = self._admin("GET", f"/admin/realms/{realm}/clients?clientId={client}")
        changes["attributes"] = found["attributes"] | changes.get("attributes", {})
        self._admin("PUT", f"/admin/realms/{realm}/clients/{found['id']}", found | changes)

    def set_user(self, realm: str, username: str, **changes: Any) -> None:
        """Change members of a user, such as ``enabled``."""
        self._admin("PUT", f"/admin/realms/{realm}/users/{self._user(realm, username)}", changes)

    def sign_out(self, realm: str, username: str) -> None:
        """End all sessions of a user, as an administrator does in the console."""
        self._admin("POST", f"/admin/realms/{realm}/users/{self._user(realm, username)}/logout", {})

    def take_role(self, realm: str, username: str, role: str) -> None:
        """Take a role of the realm from a user."""
        found = self._admin("GET", f"/admin/realms/{realm}/roles/{role}")
        path = f"/admin/realms/{realm}/users/{self._user(realm, username)}/role-mappings/realm"
        self._admin("DELETE", path, [found])

    def _user(self, realm: str, username: str) -> str:
        (found,) = self._admin("GET", f"/admin/realms/{realm}/users?exact=true&username={username}")
        return str(found["id"])

    def _admin(self, method: str, path: str, body: Any = None) -> Any:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": ADMIN, "password": ADMIN}
        granted = requests.post(f"{self.url}/realms/master/protocol/openid-connect/token", form, timeout=TIMEOUT).json()
        headers = {"Authorization": f"Bearer {granted['access_token']}"}
        answer = requests.request(method, self.url + path, json=body, headers=headers, timeout=TIMEOUT)
        if answer.status_code >= 300:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def close(self) -> None:
        """End it, and wait."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
