"""A configuration that is examined, in a directory of the test's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from perimeter.auth.registry import installed_kinds
from perimeter.doctor.finding import Finding
from perimeter.doctor.subject import Subject, gateway_user
from perimeter.run.build.inspection import inspected
from tests.unit.doubles.gssapi import Gssapi

SITE = """\
[perimeter]
state_dir = state

[listener http]
port = 8080
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[upstream app]
servers = http://127.0.0.1:8888

[route app]
path = /
upstream = app

[audit]
path = access.log
"""


class ExaminedCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o755)
        self.file("users.realm", "alice: {plain}horse-battery-staple\n")

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True, parents=True, mode=0o700)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def with_tickets(self) -> str:
        """The configuration with an authenticator for Kerberos tickets, and its keytab; ``gssapi`` is a double."""
        gssapi = Gssapi()
        self.patch(sys, "modules", {**sys.modules, "gssapi": gssapi, "gssapi.raw": gssapi})
        self.file("http.keytab", "x")
        return f"{SITE}\n[authenticator tickets]\ntype = kerberos\nkeytab = http.keytab\nkerberos_realm = EXAMPLE.ORG\n"

    def subject(self, text: str = SITE, **others: Any) -> Subject:
        found = inspected(self.file("site.ini", text), installed_kinds(), reactor)
        user = others.pop("user", None) or gateway_user(found.config.perimeter.state_dir)
        return Subject(found.config, found.document, user, **others)

    def said(self, findings: list[Finding]) -> list[tuple[str, str, str]]:
        """Name, grade and subject of each finding, paths below the directory."""
        return [(str(one.name), one.grade.word, one.subject.replace(f"{self.directory}/", "")) for one in findings]
