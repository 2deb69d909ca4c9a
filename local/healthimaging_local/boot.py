"""Starts the launcher in the emulator's environment: ``python -P boot.py NAME``.

Neither this package nor the function's is installed there. They are found by their files, so that nothing else of the
folder that they are in, which may be the user's site-packages, can be imported by the emulator.
"""

import importlib.util
import os
import sys
from pathlib import Path

LAMBDA_ROOT_VARIABLE = "HEALTHIMAGING_LOCAL_LAMBDA_ROOT"


def _load_package() -> None:
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[folder.name] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    sys.path.append(os.environ[LAMBDA_ROOT_VARIABLE])
    del sys.argv[1:]  # the name is for those who look at processes; the emulator has options of its own
    _load_package()
    from healthimaging_local.launcher import main

    main()
