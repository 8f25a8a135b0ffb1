"""The sections of a site.ini, and the values that they become."""
