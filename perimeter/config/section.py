"""One section of a site.ini as a factory reads it: typed getters that report faults instead of raising at the first.

`Section` is what third-party authenticator factories get, so this is part of the plug-in interface.
"""
