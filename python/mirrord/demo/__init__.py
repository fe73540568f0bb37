"""The embedded `demo` target and the tour of it (`mirrord demo`, `make demo`)."""
