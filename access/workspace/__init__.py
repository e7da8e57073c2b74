"""A directory or an object-store prefix, and what may be done in it."""
