"""A real Keycloak, and the tests against it: `tox -e keycloak`. No other environment runs them."""
