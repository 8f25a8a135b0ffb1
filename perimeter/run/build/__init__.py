"""Builds everything that serves requests from one configuration, connected and not yet started.

`prepared` reads what is on disk, in a thread; `assembly` puts the parts together, on the reactor thread; each other module builds
one part. Together with `perimeter.run`, which runs the result, this is the composition root: no other package knows them all.
"""
