"""Pure Python parts, in seconds, without a data path."""
