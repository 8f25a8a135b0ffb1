"""The kinds of augmenter that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.augment.ldap import LdapAugmenterFactory
from perimeter.auth.augment.match import MatchFactory
from perimeter.auth.augment.plain import PlainFactory

ldap = LdapAugmenterFactory()
match = MatchFactory()
plain = PlainFactory()
