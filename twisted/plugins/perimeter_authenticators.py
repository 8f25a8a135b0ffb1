"""The kinds of authenticator that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.certificate import CertificateFactory
from perimeter.auth.ldap.authenticator import LdapFactory
from perimeter.auth.modules.authenticator import LoginModulesFactory
from perimeter.auth.realmfile import RealmFileFactory
from perimeter.auth.trustedheader import TrustedHeaderFactory

certificate = CertificateFactory()
realm_file = RealmFileFactory()
ldap = LdapFactory()
login_modules = LoginModulesFactory()
trusted_header = TrustedHeaderFactory()
