"""A small site.ini of which tests change one thing, and a kind of authenticator without dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import TestCase
from zope.interface import implementer

from perimeter.auth.augment.ldap import LdapAugmenterFactory
from perimeter.auth.augment.match import MatchAugmenterFactory
from perimeter.auth.augment.plain import PlainAugmenterFactory
from perimeter.config.language.datatypes import file_path
from perimeter.config.language.option import Option
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import ConfigError
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory
from perimeter.plugin.kinds import PluginKinds

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

SITE = """\
[listener https]
port = 9443
interface = 127.0.0.1
tls = yes

[authenticator local]
type = file
path = users

[upstream app]
servers = http://127.0.0.1:8888

[route app]
path = /
upstream = app

[audit]
path = access.log
"""


_PATH = Option("path", file_path("file"), "users", required=True)


@implementer(IAuthenticatorFactory)
class FileFactory:
    """``type = file``: one option, ``path``."""

    kind = "file"
    options = (_PATH,)

    def parse(self, section: Section) -> Path:
        return section.value(_PATH)

    def build(self, name: str, realm: str, settings: Any, services: Any) -> IAuthenticator:
        raise AssertionError("reading a configuration builds nothing")


INSTALLED = PluginKinds(
    {"file": FileFactory()}, {one.kind: one for one in (MatchAugmenterFactory(), PlainAugmenterFactory(), LdapAugmenterFactory())}
)


class SiteCase(TestCase):
    """Has a directory with a site.ini in it, the file of users that `SITE` names, and a static root."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        (self.directory / "html").mkdir(parents=True)
        (self.directory / "users").write_text("alice: wonderland\n")
        self.site = self.directory / "site.ini"
        self.environ: dict[str, str] = {}

    def load(self, text: str) -> SiteConfig:
        self.site.write_text(text)
        return load_site(self.site, environ=self.environ, kinds=INSTALLED)

    def problems(self, text: str) -> list[str]:
        """The problems of ``text``, without the name of the directory."""
        error = self.assertRaises(ConfigError, self.load, text)
        return str(error).replace(f"{self.directory}/", "").splitlines()

    def with_option(self, section: str, option: str, value: str) -> str:
        """`SITE` with this option in a section. It replaces an earlier value; a missing section is added."""
        header = f"[{section}]\n"
        if header not in SITE:
            return f"{SITE}\n{header}{option} = {value}\n"
        before, _, after = SITE.partition(header)
        own, gap, rest = after.partition("\n\n")
        kept = [line for line in own.splitlines() if not line.startswith(f"{option} ")]
        return "\n".join([before + header.rstrip(), *kept, f"{option} = {value}"]) + "\n" + gap + rest
