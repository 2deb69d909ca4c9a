"""The commands about bulk imports: ``plan``, ``watch``, ``report`` and ``retry``."""
