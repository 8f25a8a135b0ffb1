"""The login modules that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.kinds.ldap.authenticator import LdapFactory
from perimeter.auth.kinds.login_modules.command import CommandFactory
from perimeter.auth.kinds.login_modules.pam import PamFactory
from perimeter.auth.kinds.login_modules.vouching import AuthenticatorModuleFactory
from perimeter.auth.kinds.realm_file import RealmFileFactory

command = CommandFactory()
ldap = AuthenticatorModuleFactory(LdapFactory())
pam = PamFactory()
realm_file = AuthenticatorModuleFactory(RealmFileFactory())
