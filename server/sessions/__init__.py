"""Sessions: admission, engine, signalling, quality."""
