"""A third-party authenticator for the tests: a ``twisted.plugin`` in a directory that is put on PYTHONPATH.

Its result depends on the user's name, so that one gateway serves all tests of one kind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.harness import SOURCE

SOURCE_TEXT = """
import os
import threading

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.datatypes import file_path
from perimeter.config.language.option import Option
from perimeter.errors import Rejected, Unavailable
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory
from perimeter.model import Principal

_log = Logger()


@implementer(IAuthenticator)
class Acme:
    def __init__(self, name, realm, held, services):
        self.name = name
        self.realm = realm
        self._held = held
        self._offload = services.offload

    async def authenticate(self, credentials, request):
        user = getattr(credentials, "username", "")
        password = getattr(credentials, "password", "")
        if user == "raise":
            raise ValueError(f"cannot look up {user} with {password}")
        if user == "raise-bare":
            raise KeyError(credentials)
        if user == "raise-base":
            raise RuntimeError(password)
        if user == "down":
            raise Unavailable("the directory is down")
        if user == "hang":
            await Deferred()
        if user == "true":
            return True
        if user == "foreign":
            return Principal("root", "another realm")
        if user == "nobody":
            return Principal("", self.realm)
        if user == "rejected":
            raise Rejected("wrong")
        if user == "good":
            return Principal(user, self.realm)
        if user.startswith("slow"):
            await self._offload.run(self._wait)
            return Principal(user, self.realm)
        if user.startswith("say"):
            # What a careless plug-in writes: the name as it came, and the password.
            _log.warn("login of {user}", user=user)
            _log.debug("Authorization: Basic {password} password={password!r}", password=password)
            _log.info("{credentials}", credentials=credentials)
            return Principal(user, self.realm)
        return None

    def _wait(self):
        pause = threading.Event()
        while os.path.exists(self._held):
            pause.wait(0.02)


_HELD = Option("held", file_path(), "while it exists, slow logins wait", required=True)


@implementer(IPlugin, IAuthenticatorFactory)
class AcmeFactory:
    kind = "acme"
    options = (_HELD,)

    def parse(self, section):
        held = section.value(_HELD)
        section.finish()
        return held

    def build(self, name, realm, settings, services):
        return Acme(name, realm, settings, services)


acme = AcmeFactory()
"""

SECTION = "[authenticator acme]\ntype = acme\nheld = held\n"
"""For site.ini. Users called ``slow…`` wait for as long as there is a file ``held`` beside it."""


def installed(directory: Path, text: str = SOURCE_TEXT) -> dict[str, str]:
    """Lay the package out below ``directory``; returns the environment in which it is found."""
    plugins = directory / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "acme_authenticator.py").write_text(text)
    return {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(directory)])}


@contextmanager
def holding(directory: Path) -> Iterator[None]:
    """Keep the ``slow…`` users of the gateway in ``directory`` waiting."""
    path = directory / "held"
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
