"""Measurements of the library and of its function, each against a named peer: ``make bench``."""
