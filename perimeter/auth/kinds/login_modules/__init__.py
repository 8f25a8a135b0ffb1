"""Login modules: a stack of them as one authenticator, with the control flags of JAAS; the kinds that come with Perimeter."""
