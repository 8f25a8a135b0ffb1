"""Sections of ``type = ldap`` as an operator writes them, and the settings that they become."""

from __future__ import annotations

from pathlib import Path

from perimeter.auth.kinds.ldap.authenticator import LdapFactory
from perimeter.auth.kinds.ldap.settings import LdapSettings
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem

MINIMAL = {"hostname": "ldap.example.org", "user_base_dn": "ou=people,dc=example,dc=org"}


def read(**options: str) -> tuple[LdapSettings, list[str]]:
    """The settings of a section with these options, and the problems of it."""
    return read_body("".join(f"{name} = {value}\n" for name, value in options.items()))


def read_body(body: str) -> tuple[LdapSettings, list[str]]:
    """The same for the text of a section."""
    found: list[Problem] = []
    (scanned,), _ = scan(f"[authenticator corp]\n{body}")
    section = Section(scanned, "site.ini", Path("/"), References({}, Path("/")), found)
    settings = LdapFactory().parse(section)
    section.finish()
    return settings, [str(problem).removeprefix("site.ini:") for problem in found]


def parsed(**options: str) -> LdapSettings:
    """The settings of a valid section."""
    settings, problems = read(**options)
    assert not problems, problems
    return settings
