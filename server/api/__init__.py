"""HTTP: routes, middleware, TLS, OpenAPI."""
