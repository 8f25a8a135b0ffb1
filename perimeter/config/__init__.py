"""Reads a site.ini into frozen values: the language of the file, and the sections of a site."""
