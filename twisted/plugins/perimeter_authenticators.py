"""The kinds of authenticator that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.kinds.certificate import CertificateFactory
from perimeter.auth.kinds.ldap.authenticator import LdapFactory
from perimeter.auth.kinds.login_modules.authenticator import LoginModulesFactory
from perimeter.auth.kinds.plain import PlainFactory
from perimeter.auth.kinds.realm_file import RealmFileFactory
from perimeter.auth.kinds.remote.bearer_jwt import BearerJwtFactory
from perimeter.auth.kinds.remote.exchange import EcmwfTokenGeneratorFactory, OpenIdOfflineFactory
from perimeter.auth.kinds.remote.whoami import ecmwf_api as ecmwf_api_kind
from perimeter.auth.kinds.remote.whoami import efas_api as efas_api_kind
from perimeter.auth.kinds.trusted_header import TrustedHeaderFactory

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
