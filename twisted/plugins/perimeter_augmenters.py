"""The kinds of augmenter that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.auth.augment.ldap import LdapAugmenterFactory
from perimeter.auth.augment.match import MatchAugmenterFactory
from perimeter.auth.augment.plain import PlainAugmenterFactory

ldap = LdapAugmenterFactory()
match = MatchAugmenterFactory()
plain = PlainAugmenterFactory()
