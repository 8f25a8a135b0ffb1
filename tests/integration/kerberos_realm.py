"""A Kerberos realm for tests: MIT Kerberos' own KDC, with its database, its clients' tickets and its services' keytabs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.integration.ports import eventually, free_port

REALM = "EXAMPLE.ORG"

TOOLS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "curl")

PASSWORD = "secret"


def client_configuration(realm: str, kdc: str) -> str:
    """The ``krb5.conf`` of clients of ``realm``, whose KDC is at ``kdc`` (address and port)."""
    return (
        f"[libdefaults]\n default_realm = {realm}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n rdns = false\n"
        f" dns_canonicalize_hostname = false\n[realms]\n {realm} = {{\n  kdc = {kdc}\n }}\n"
        f"[domain_realm]\n localhost = {realm}\n"
    )


class KerberosRealm:
    """A KDC on a port of loopback, with these ``users`` (their password is `PASSWORD`) and ``services`` (with random keys)."""

    def __init__(self, directory: Path, users: tuple[str, ...], services: tuple[str, ...]) -> None:
        self.directory = directory
        port = free_port()
        (directory / "krb5.conf").write_text(client_configuration(REALM, f"127.0.0.1:{port}"))
        (directory / "kdc.conf").write_text(
            f"[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n"
            f"  database_name = {directory}/principal\n  key_stash_file = {directory}/stash\n  max_life = 1h\n }}\n"
        )
        self.environ = {
            "KRB5_CONFIG": f"{directory}/krb5.conf",
            "KRB5_KDC_PROFILE": f"{directory}/kdc.conf",
            "KRB5RCACHENAME": f"file2:{directory}/seen",
        }
        self._run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        self.administer(
            *(f"addprinc -pw {PASSWORD} {user}" for user in users),
            *(f"addprinc -randkey {service}" for service in services),
        )
        log = (directory / "kdc.log").open("ab")
        self._process = subprocess.Popen(
            [_found("krb5kdc"), "-n", "-r", REALM, "-P", f"{directory}/kdc.pid"],
            env={**os.environ, **self.environ},
            stdout=log,
            stderr=log,
        )
        log.close()
        eventually(lambda: self._process.poll() is None and self._answers(users[0]), "the KDC answers")

    def _answers(self, user: str) -> bool:
        try:
            self.ticket(user)
        except subprocess.CalledProcessError:
            return False
        return True

    def kill(self) -> None:
        """End the KDC."""
        self._process.kill()
        self._process.wait()

    def administer(self, *commands: str) -> None:
        """Run commands of kadmin on the database."""
        self._run("kadmin.local", "-r", REALM, text="".join(f"{command}\n" for command in commands))

    def keytab(self, name: str, *services: str) -> Path:
        """A keytab with new keys of ``services``."""
        path = self.directory / name
        self.administer(*(f"ktadd -q -k {path} {service}" for service in services))
        return path

    def ticket(self, user: str) -> dict[str, str]:
        """The environment of a program that runs with a ticket of ``user``."""
        environ = {**self.environ, "KRB5CCNAME": f"FILE:{self.directory}/cache-{user.replace('/', '-')}"}
        self._run("kinit", user, text=f"{PASSWORD}\n", environ=environ)
        return environ

    def _run(self, program: str, *arguments: str, text: str = "", environ: dict[str, str] | None = None) -> None:
        subprocess.run(
            [_found(program), *arguments],
            input=text,
            text=True,
            capture_output=True,
            check=True,
            timeout=60,
            env={**os.environ, **(environ or self.environ)},
        )


def _found(program: str) -> str:
    path = shutil.which(program, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    assert path is not None, program
    return path
