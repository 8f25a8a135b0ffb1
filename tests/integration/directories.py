"""Real directories for the tests: an OpenLDAP slapd, and a Samba Active Directory domain controller.

Each is a process in a directory of its own, on loopback, with a certificate of an authority that the test knows. They are
stopped, frozen and started again as a test wants.
"""

from __future__ import annotations

import base64
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.net.contexts import ServerIdentity
from tests.integration.harness import SEARCH
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port

SCHEMA = Path("/etc/ldap/schema")
MODULES = Path("/usr/lib/ldap")

SUFFIX = "dc=example,dc=org"
ROOT = f"cn=root,{SUFFIX}"
ROOT_PASSWORD = "root-password"

SEARCHER = f"cn=gateway,{SUFFIX}"
SEARCHER_PASSWORD = "search-password"

BASE_ENTRIES = f"""\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: {SEARCHER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gateway
userPassword: {SEARCHER_PASSWORD}

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{SUFFIX}
objectClass: organizationalUnit
ou: groups
"""


def line(attribute: str, value: str) -> str:
    """An LDIF line; values that are not plain ASCII are in base64 (RFC 2849)."""
    if value.isascii() and value.isprintable() and not value.startswith((" ", ":", "<")):
        return f"{attribute}: {value}"
    return f"{attribute}:: {base64.b64encode(value.encode()).decode()}"


def person(name: str, password: str = "", *extra: str, rdn: str = "cn", cn: str = "") -> str:
    """LDIF of a person below ou=people. ``name`` is the uid, and the cn unless that is given; ``extra`` are further lines."""
    lines = [
        line("dn", f"{rdn}={name},ou=people,{SUFFIX}"),
        "objectClass: inetOrgPerson",
        line("uid", name),
        line("cn", cn or name),
        line("sn", name),
        *extra,
    ]
    if password:
        lines.append(line("userPassword", password))
    return "\n".join(lines) + "\n"


def group(name: str, *members: str) -> str:
    """LDIF of a groupOfUniqueNames below ou=groups. A member is a person's name, or a distinguished name."""
    names = [member if "=" in member else f"cn={member},ou=people,{SUFFIX}" for member in members]
    rdn = name.replace(",", "\\,")
    head = [line("dn", f"cn={rdn},ou=groups,{SUFFIX}"), "objectClass: groupOfUniqueNames", line("cn", name)]
    return "\n".join(head + [line("uniqueMember", member) for member in names]) + "\n"


class Authority:
    """A CA, and what it issues, as files."""

    def __init__(self, directory: Path, name: str = "ca.test") -> None:
        self._directory = directory
        self.identity = identity(name, ca=True)
        self.certificate = directory / "ca.pem"
        self.certificate.write_bytes(pem(self.identity.chain[0]))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """The files of a certificate for ``names`` and of its key."""
        issued: ServerIdentity = identity(*names, issuer=self.identity)
        certificate, key = self._directory / f"{names[0]}.crt", self._directory / f"{names[0]}.key"
        certificate.write_bytes(pem(*issued.chain))
        key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key


class Slapd:
    """A slapd with ``entries`` (LDIF) below `SUFFIX`, on plain and TLS ports; StartTLS works on the plain one.

    Only `SEARCHER` and users themselves may read, unless ``anonymous``. ``require_tls`` refuses passwords in plain text;
    ``modules`` are loaded, ``options`` are further lines of the database's configuration, ``after`` what follows it.
    """

    def __init__(
        self,
        directory: Path,
        entries: Iterable[str] = (),
        *,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        anonymous: bool = False,
        require_tls: bool = False,
        modules: tuple[str, ...] = (),
        options: str = "",
        after: str = "",
    ) -> None:
        self._directory = directory
        self.port, self.tls_port = free_port(), free_port()
        self.authority = Authority(directory)
        certificate, key = self.authority.issue(*names)
        (directory / "db").mkdir()
        (directory / "config").mkdir()
        loaded = "\n".join(f"olcModuleLoad: {module}" for module in ("back_mdb", "back_monitor", *modules))
        readers = "* read" if anonymous else f'dn.exact="{SEARCHER}" read by self read by anonymous auth by * none'
        config = f"""\
dn: cn=config
objectClass: olcGlobal
cn: config
olcPidFile: {directory}/slapd.pid
olcTLSCertificateFile: {certificate}
olcTLSCertificateKeyFile: {key}
{"olcSecurity: simple_bind=128" if require_tls else "olcLogLevel: stats"}

dn: cn=module{{0}},cn=config
objectClass: olcModuleList
cn: module{{0}}
olcModulePath: {MODULES}
{loaded}

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

{self._schema("core")}
{self._schema("cosine")}
{self._schema("nis")}
{self._schema("inetorgperson")}
dn: olcDatabase={{-1}}frontend,cn=config
objectClass: olcDatabaseConfig
objectClass: olcFrontendConfig
olcDatabase: {{-1}}frontend

dn: olcDatabase={{0}}config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{0}}config

dn: olcDatabase={{1}}monitor,cn=config
objectClass: olcDatabaseConfig
olcDatabase: {{1}}monitor
olcRootDN: cn=monitor
olcRootPW: {ROOT_PASSWORD}

dn: olcDatabase={{2}}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {{2}}mdb
olcSuffix: {SUFFIX}
olcRootDN: {ROOT}
olcRootPW: {ROOT_PASSWORD}
olcDbDirectory: {directory}/db
olcDbMaxSize: 67108864
olcDbNoSync: TRUE
olcDbIndex: uid,cn,uniqueMember eq
olcAccess: to attrs=userPassword by anonymous auth by * none
olcAccess: to * by {readers}
{options}
{after}
"""
        self._add(config, "-n", "0")
        self._add("\n".join((BASE_ENTRIES, *entries)), "-n", "2")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    def _schema(self, name: str) -> str:
        text = (SCHEMA / f"{name}.ldif").read_text()
        return "\n".join(line for line in text.splitlines() if not line.startswith("#")) + "\n"

    def _add(self, ldif: str, *arguments: str) -> None:
        program = shutil.which("slapadd", path=SEARCH)
        assert program is not None
        path = self._directory / "add.ldif"
        path.write_text(ldif)
        done = subprocess.run(
            [program, "-F", str(self._directory / "config"), *arguments, "-l", str(path)], capture_output=True, timeout=60
        )
        if done.returncode:
            raise AssertionError(f"slapadd: {done.stderr.decode()}\n{ldif}")

    # -- the process

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("slapd", path=SEARCH)
        assert program is not None
        addresses = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port}"
        with (self._directory / "slapd.log").open("ab") as log:
            # with a debug level it stays in the foreground; "stats" logs operations without passwords
            self._process = subprocess.Popen(
                [program, "-F", str(self._directory / "config"), "-h", addresses, "-d", "stats"], stdout=log, stderr=log
            )
        eventually(self._answers, f"slapd:\n{self.log}", 30.0)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"slapd ended with {self._process.returncode}:\n{self.log}")
        return listens(self.port) and listens(self.tls_port)

    @property
    def log(self) -> str:
        """Its log of the operations."""
        return (self._directory / "slapd.log").read_text(errors="replace")

    def freeze(self) -> None:
        """Freeze it: the kernel accepts connections, and it never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """And go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    # -- what is in it

    def modify(self, ldif: str) -> None:
        """Change the directory while it runs."""
        program = shutil.which("ldapmodify", path=SEARCH)
        assert program is not None
        url = f"ldap://127.0.0.1:{self.port}"
        done = subprocess.run(
            [program, "-x", "-H", url, "-D", ROOT, "-w", ROOT_PASSWORD], input=ldif.encode(), capture_output=True, timeout=60
        )
        if done.returncode:
            raise AssertionError(f"ldapmodify: {done.stderr.decode()}\n{ldif}")


def free_address(*ports: int) -> str:
    """An address of loopback on which none of ``ports`` is taken."""
    while True:
        address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        if not any(listens(port, address) for port in ports):
            return address


def listens(port: int, address: str = "127.0.0.1") -> bool:
    """Whether a server accepts connections on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


AD_REALM = "CORP.EXAMPLE.ORG"
AD_BASE = "DC=corp,DC=example,DC=org"
AD_ADMINISTRATOR = "administrator@corp.example.org"
AD_PASSWORD = "Adm1n-Passw0rd!"
NORMAL_ACCOUNT, DISABLED = 0x200, 0x2


def ad_user(name: str, password: str, *extra: str, where: str = "CN=Users", disabled: bool = False) -> str:
    """LDIF of an account of Active Directory. ``name`` is cn and sAMAccountName; ``extra`` are further lines."""
    quoted = base64.b64encode(f'"{password}"'.encode("utf-16-le")).decode()
    lines = [
        line("dn", f"CN={name},{where},{AD_BASE}"),
        "changetype: add",
        "objectClass: user",
        line("sAMAccountName", name),
        f"userAccountControl: {NORMAL_ACCOUNT | DISABLED if disabled else NORMAL_ACCOUNT}",
        f"unicodePwd:: {quoted}",
        *extra,
    ]
    return "\n".join(lines) + "\n"


def ad_group(name: str, *members: str, where: str = "CN=Users") -> str:
    """LDIF of a group of Active Directory; members are names below CN=Users, or distinguished names."""
    names = [member if "=" in member else f"CN={member},CN=Users,{AD_BASE}" for member in members]
    rdn = name.replace(",", "\\,")
    head = [line("dn", f"CN={rdn},{where},{AD_BASE}"), "changetype: add", "objectClass: group"]
    account = line("sAMAccountName", name.replace(",", ""))
    return "\n".join([*head, account, *(line("member", member) for member in names)]) + "\n"


class SambaDomain:
    """A Samba Active Directory domain controller with ``changes`` (LDIF) made to it. Three wrong passwords lock an account.

    Samba's ports are fixed and low (88, 389, 636), so it needs root, and takes an ``address`` of loopback that no other program
    uses.
    """

    def __init__(self, directory: Path, changes: Iterable[str] = ()) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.address = free_address(88, 389, 636)
        self.authority = Authority(directory)
        certificate, key = self.authority.issue("dc1.corp.example.org", self.address)
        key.chmod(0o600)
        self._options = [
            *("--option", f"interfaces={self.address}/8", "--option", "bind interfaces only=yes"),
            *("--option", f"tls certfile={certificate}", "--option", f"tls keyfile={key}"),
            *("--option", f"tls cafile={self.authority.certificate}"),
            *("--option", "server services=ldap kdc", "--option", "log file="),
            # several may run at the same time
            *("--option", f"pid directory={directory}", "--option", f"ncalrpc dir={directory}/ncalrpc"),
        ]
        self._run(
            "samba-tool", "domain", "provision", f"--realm={AD_REALM}", "--domain=CORP", "--server-role=dc",
            "--dns-backend=NONE", f"--adminpass={AD_PASSWORD}", f"--targetdir={directory}/dc", "--host-name=dc1",
            f"--host-ip={self.address}", "--quiet", *self._options[:4],
        )  # fmt: skip
        database = f"{directory}/dc/private/sam.ldb"
        self._run(
            "samba-tool", "domain", "passwordsettings", "set", "-H", database, "--quiet", "--complexity=off",
            "--min-pwd-length=4", "--min-pwd-age=0", "--account-lockout-threshold=3", f"--configfile={self._config}",
        )  # fmt: skip
        try:
            self.start()
            self.modify("\n".join(changes))
        except BaseException:
            self.kill()
            raise

    @property
    def _config(self) -> str:
        return f"{self._directory}/dc/etc/smb.conf"

    @staticmethod
    def _run(*command: str, data: bytes = b"", environ: Mapping[str, str] | None = None) -> str:
        program = shutil.which(command[0], path=SEARCH)
        assert program is not None
        environ = {**os.environ, **(environ or {})}
        done = subprocess.run([program, *command[1:]], input=data, capture_output=True, timeout=180, env=environ)
        if done.returncode:
            raise AssertionError(f"{command[0]}: {done.stderr.decode()}")
        return done.stdout.decode()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        program = shutil.which("samba", path=SEARCH)
        assert program is not None
        command = [program, "--interactive", "--model=single", "--debug-stdout", "-s", self._config, *self._options]
        with (self._directory / "samba.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        eventually(self._answers, "samba", 60.0)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            log = (self._directory / "samba.log").read_text(errors="replace")
            raise AssertionError(f"samba ended with {self._process.returncode}:\n{log}")
        return all(listens(port, self.address) for port in (636, 389, 88))

    def keytab(self, service: str, account: str) -> Path:
        """A keytab for ``service``, whose key is that of ``account``."""
        path = self._directory / "service.keytab"
        database = f"{self._directory}/dc/private/sam.ldb"
        self._run("samba-tool", "spn", "add", service, account, "-H", database, f"--configfile={self._config}")
        self._run("samba-tool", "domain", "exportkeytab", str(path), f"--principal={service}", f"--configfile={self._config}")
        return path

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def modify(self, ldif: str) -> None:
        """Change the directory, as its administrator."""
        self._run(
            "ldapmodify", "-x", "-H", f"ldaps://{self.address}", "-D", AD_ADMINISTRATOR, "-w", AD_PASSWORD,
            data=ldif.encode(), environ={"LDAPTLS_CACERT": str(self.authority.certificate)},
        )  # fmt: skip
