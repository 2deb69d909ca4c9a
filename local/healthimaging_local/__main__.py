"""``python -m healthimaging_local``: the command ``healthimaging-local``."""

from healthimaging_local.cli import main

main()
