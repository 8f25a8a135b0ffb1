"""Configurations of what Perimeter replaces, turned into a site.ini: one pure module for each source, no file and no socket."""
