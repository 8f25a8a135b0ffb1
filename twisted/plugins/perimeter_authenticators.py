"""The kinds of authenticator that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.certificate import CertificateFactory
from perimeter.auth.ldap.authenticator import LdapFactory
from perimeter.auth.modules.authenticator import LoginModulesFactory
from perimeter.auth.plain import PlainFactory
from perimeter.auth.realmfile import RealmFileFactory
from perimeter.auth.remote.bearerjwt import BearerJwtFactory
from perimeter.auth.remote.exchange import EcmwfTokenGeneratorFactory, OpenIdOfflineFactory
from perimeter.auth.remote.whoami import ecmwf_api as ecmwf_api_kind
from perimeter.auth.remote.whoami import efas_api as efas_api_kind
from perimeter.auth.trustedheader import TrustedHeaderFactory

certificate = CertificateFactory()
realm_file = RealmFileFactory()
ldap = LdapFactory()
login_modules = LoginModulesFactory()
trusted_header = TrustedHeaderFactory()
plain = PlainFactory()
bearer_jwt = BearerJwtFactory()
ecmwf_api = ecmwf_api_kind()
openid_offline = OpenIdOfflineFactory()
ecmwf_token_generator = EcmwfTokenGeneratorFactory()
efas_api = efas_api_kind()
