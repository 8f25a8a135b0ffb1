"""Login modules: a stack of them is one authenticator, with the control flags of JAAS."""
