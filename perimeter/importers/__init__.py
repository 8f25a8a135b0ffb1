"""Importers: each turns a configuration of another program into a site.ini. They are pure and open no file or socket."""
