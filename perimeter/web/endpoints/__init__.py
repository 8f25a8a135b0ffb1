"""The built-in endpoints: tokens, keys, and what the gateway reports about itself.

One module for each endpoint, with its path, what each of its methods asks for, and the resource that answers. The gate judges
them like any route; `perimeter.run.build.endpoints` lists them.
"""
