"""HTTP: routes, middleware, OpenAPI."""
