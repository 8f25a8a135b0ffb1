"""A real LDAP directory with the run's users: Debian's slapd, on the core of the upstream.

It has the run's certificate and supports StartTLS. It stores passwords in plain text, because its CPU time is not measured.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench import programs
from bench.material import PASSWORD, REALM, ROLES
from bench.peers.base import Surroundings
from bench.ports import free_port
from bench.processes import Process

_SCHEMA = Path("/etc/ldap/schema")
_MODULES = Path("/usr/lib/ldap")
_SUFFIX = "dc=example,dc=org"
_PEOPLE, _GROUPS = f"ou=people,{_SUFFIX}", f"ou=groups,{_SUFFIX}"
_SEARCHER, _SEARCHER_PASSWORD = f"cn=gateway,{_SUFFIX}", "search-password"
_MOST = 256 << 20


def missing() -> str | None:
    """The reason why this machine cannot run a directory, or None."""
    return programs.not_installed("slapd")


def entries(users: Iterable[str]) -> str:
    """The LDIF of the directory: the gateway's account, ``users``, and a group for each role with all users as members."""
    names = [f"uid={user},{_PEOPLE}" for user in users]
    members = "\n".join(f"uniqueMember: {name}" for name in names)
    found = [
        f"dn: {_SUFFIX}\nobjectClass: dcObject\nobjectClass: organization\no: example\ndc: example",
        f"dn: {_SEARCHER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: gateway\n"
        f"userPassword: {_SEARCHER_PASSWORD}",
        *(f"dn: {place}\nobjectClass: organizationalUnit" for place in (_PEOPLE, _GROUPS)),
    ]
    for name in names:
        uid = name.split(",", 1)[0].removeprefix("uid=")
        found.append(f"dn: {name}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nuserPassword: {PASSWORD}")
    found += [f"dn: cn={role},{_GROUPS}\nobjectClass: groupOfUniqueNames\ncn: {role}\n{members}" for role in ROLES]
    return "\n\n".join(found) + "\n"


def authenticator(port: int, ca: Path | None) -> str:
    """A gateway's section for the directory on ``port``, with StartTLS if ``ca``, the issuer of its certificate, is given."""
    secured = f"tls = starttls\nca_certificate = {ca}" if ca is not None else "tls = none"
    return f"""\
[authenticator directory]
type = ldap
realm = {REALM}
hostname = 127.0.0.1
port = {port}
{secured}
bind_dn = {_SEARCHER}
bind_password = {_SEARCHER_PASSWORD}
user_base_dn = {_PEOPLE}
user_id_attribute = uid
user_rdn_attribute = uid
role_base_dn = {_GROUPS}
"""


class Directory:
    """A context manager that starts slapd with ``users`` and stops it. ``around`` is the environment of the run."""

    def __init__(self, around: Surroundings, users: Iterable[str]) -> None:
        self.port = free_port()
        self._around = around
        self._users = users
        self._process: Process | None = None

    def __enter__(self) -> Directory:
        own = Path(tempfile.mkdtemp(prefix="slapd-", dir=self._around.directory))
        (own / "db").mkdir()
        (own / "slapd.conf").write_text(self._configuration(own))
        (own / "users.ldif").write_text(entries(self._users))
        slapd = str(shutil.which("slapd", path=programs.SEARCH))
        configured = (slapd, "-f", str(own / "slapd.conf"))
        programs.run((slapd, "-T", "add", "-q", *configured[1:], "-l", str(own / "users.ldif")))
        # with any debug level, here 0, slapd stays in the foreground
        command = [*configured, "-d", "0", "-h", f"ldap://127.0.0.1:{self.port}"]
        self._process = Process(own.name, command, self._around.cores.upstream, own)
        try:
            self._process.wait_for_port(self.port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop slapd. A gateway that asks it afterwards gets no answer."""
        if self._process is not None:
            self._process.stop()

    def _configuration(self, own: Path) -> str:
        schemas = "\n".join(f"include {_SCHEMA}/{name}.schema" for name in ("core", "cosine", "inetorgperson"))
        return f"""\
{schemas}
pidfile {own}/slapd.pid
modulepath {_MODULES}
moduleload back_mdb
TLSCertificateFile {self._around.certificate.chain}
TLSCertificateKeyFile {self._around.certificate.key}
database mdb
suffix "{_SUFFIX}"
directory {own}/db
maxsize {_MOST}
dbnosync
index objectClass,uid,uniqueMember eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{_SEARCHER}" read by anonymous auth by * none
"""
