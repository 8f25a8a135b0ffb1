"""The subcommands of ``perimeter``, one module each, with the click command in ``command``; `perimeter.cli` lists them."""
