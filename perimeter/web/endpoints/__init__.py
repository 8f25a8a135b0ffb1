"""The built-in endpoints: tokens, keys, and what the gateway reports about itself.

One module for each endpoint, with its path, what each of its methods asks for, and the resource that answers. The gate judges
them like any route. To add one, write a module with a subclass of `perimeter.web.endpoints.endpoint.Endpoint`, list it in
`perimeter.run.build.endpoints`, and describe it in docs/reference/http.md.
"""
