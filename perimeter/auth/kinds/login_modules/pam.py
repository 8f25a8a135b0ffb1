"""The login module ``pam``: Pluggable Authentication Modules, through python-pam (the extra ``perimeter-gateway[pam]``).

PAM may block for any time, so each login occupies a thread. No sessions are opened and no credentials are set: PAM is only asked
whether the password is right and the account is usable now.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.datatypes import BadValue, Datatype
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import Rejected, StartupError, Unavailable
from perimeter.offload import Offload
from perimeter.plugin.login_module import ILoginModule, ILoginModuleFactory, LoginAttempt, UnknownUser
from perimeter.plugin.services import AuthServices
from perimeter.plugin.verified_login import Known, VerifiedLogin

_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIRECTORIES = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))

# security/_pam_types.h of Linux-PAM. Every other code means that PAM itself, or a service behind it, did not work.
_SUCCESS = 0
_USER_UNKNOWN = 10
_WRONG = {
    6: "permission denied",
    7: "authentication failure",
    8: "insufficient credentials",
    11: "too many tries",
    12: "the password has to be changed",
    13: "the account has expired",
    27: "the password has expired",
}


def _verify(service: str, username: str, password: str) -> int:
    """PAM's return code. Blocks."""
    import pam  # an extra: only sites that use it need it

    asked = pam.PamAuthenticator()
    asked.authenticate(username, password, service=service, resetcreds=False)
    return int(asked.code)


@implementer(ILoginModule)
class PamModule:
    """Asks the PAM service ``service``."""

    def __init__(self, service: str, blocking: Offload) -> None:
        self._service = service
        self._blocking = blocking

    def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
        """Its part in a login."""
        return VerifiedLogin(attempt, self._ask)

    async def _ask(self, attempt: LoginAttempt) -> Known:
        credentials = attempt.credentials
        attempt.request.explain(f"asking the PAM service {self._service}")
        code = await self._blocking.run(_verify, self._service, credentials.username, credentials.password)
        if code == _SUCCESS:
            return Known(credentials.username)
        if code == _USER_UNKNOWN:
            raise UnknownUser(f"PAM service {self._service} does not know the user")
        if code in _WRONG:
            raise Rejected(f"PAM service {self._service}: {_WRONG[code]}")
        raise Unavailable(f"PAM service {self._service} failed with code {code}")


def _service(text: str, base: Path) -> str:
    if not _SERVICE.fullmatch(text):
        raise BadValue("expected the name of a file in /etc/pam.d")
    return text


_SERVICE_NAME: Datatype[str] = Datatype("service", _service, "")


@attrs.frozen
class PamSettings(Settings):
    """``service`` is the name of a file in /etc/pam.d."""

    service: str = option(_SERVICE_NAME, "the PAM service, a file in `/etc/pam.d`", default="perimeter")


@implementer(IPlugin, ILoginModuleFactory)
class PamFactory:
    """``modules = pam …``, with ``option.service``."""

    kind = "pam"
    options = options_of(PamSettings)

    def parse(self, options: Section) -> PamSettings:
        """See `ILoginModuleFactory`."""
        return read(options, PamSettings)

    def build(self, name: str, realm: str, settings: PamSettings, services: AuthServices) -> PamModule:
        """Raises `StartupError` without python-pam or libpam, and for a service that is not there.

        PAM would take the service ``other`` in its place, and admit every user that it admits (attack 41).
        """
        try:
            import pam

            made: Any = pam.PamAuthenticator()
        except (ImportError, OSError, AttributeError) as error:
            raise StartupError(
                f"the login module pam needs python-pam (pip install 'perimeter-gateway[pam]') and libpam: {error}"
            ) from None
        del made
        if not any((directory / settings.service).is_file() for directory in _DIRECTORIES):
            raise StartupError(f"authenticator {name}: there is no PAM service {settings.service} in /etc/pam.d")
        return PamModule(settings.service, services.blocking)
