"""``python -m healthimaging_cdk.cli``: the command ``healthimaging-cdk``."""

from healthimaging_cdk.cli import main

main()
