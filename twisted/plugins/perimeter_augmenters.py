"""The kinds of augmenter that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.named import NamedFactory

ldap = NamedFactory(IAugmenterFactory, "ldap", "perimeter.auth.augment.ldap.LdapAugmenterFactory")
match = NamedFactory(IAugmenterFactory, "match", "perimeter.auth.augment.match.MatchAugmenterFactory")
plain = NamedFactory(IAugmenterFactory, "plain", "perimeter.auth.augment.plain.PlainAugmenterFactory")
