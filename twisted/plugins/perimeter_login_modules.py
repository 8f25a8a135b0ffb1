"""The login modules that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.kinds.login_modules.command import CommandKind
from perimeter.auth.kinds.login_modules.pam import PamKind
from perimeter.auth.kinds.login_modules.vouching import AuthenticatorModuleKind

command = CommandKind()
ldap = AuthenticatorModuleKind("ldap")
pam = PamKind()
realm_file = AuthenticatorModuleKind("realmfile")
