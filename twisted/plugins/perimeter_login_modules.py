"""The login modules that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.plugin.login_module import ILoginModuleFactory
from perimeter.plugin.named import NamedFactory


def _named(kind: str, maker: str) -> NamedFactory:
    return NamedFactory(ILoginModuleFactory, kind, f"perimeter.auth.kinds.login_modules.{maker}")


command = _named("command", "command.CommandFactory")
ldap = _named("ldap", "vouching.ldap")
pam = _named("pam", "pam.PamFactory")
realm_file = _named("realmfile", "vouching.realm_file")
