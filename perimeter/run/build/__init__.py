"""From a configuration to everything that serves requests, connected and not yet started.

Together with `perimeter.run`, which runs what is built here, this is the composition root: the only place that knows
every package. `assemble` puts it together, and each other module builds one part. A reload builds a second `Assembly` and puts
it in the place of the first.
"""
