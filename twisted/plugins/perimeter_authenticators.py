"""The kinds of authenticator that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.named import NamedFactory


def _named(kind: str, maker: str) -> NamedFactory:
    return NamedFactory(IAuthenticatorFactory, kind, f"perimeter.auth.kinds.{maker}")


certificate = _named("certificate", "certificate.CertificateFactory")
realm_file = _named("realmfile", "realm_file.RealmFileFactory")
kerberos = _named("kerberos", "kerberos.authenticator.KerberosFactory")
ldap = _named("ldap", "ldap.authenticator.LdapFactory")
login_modules = _named("login-modules", "login_modules.authenticator.LoginModulesFactory")
trusted_header = _named("trusted-header", "trusted_header.TrustedHeaderFactory")
plain = _named("plain", "plain.PlainFactory")
bearer_jwt = _named("jwt", "remote.bearer_jwt.BearerJwtFactory")
introspection = NamedFactory(IAuthenticatorFactory, "introspection", "perimeter.oidc.introspection.IntrospectionFactory")
ecmwf_api = _named("ecmwf-api", "remote.whoami.ecmwf_api")
openid_offline = _named("openid-offline", "remote.exchange.OpenIdOfflineFactory")
ecmwf_token_generator = _named("ecmwf-token-generator", "remote.exchange.EcmwfTokenGeneratorFactory")
efas_api = _named("efas-api", "remote.whoami.efas_api")
