"""LDAP directories and Active Directory as authenticators."""
