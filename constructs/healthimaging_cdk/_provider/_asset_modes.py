"""The modes of the function's files: whoever installed this library has another umask than Lambda needs."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import AssetStaging

_READABLE = 0o644


def make_readable(staging: AssetStaging) -> None:
    """Let everybody read the files that CDK has staged, as Lambda's own user has to.

    The modes of a checkout or an installation under umask 027 or 077 would otherwise be those in the zip. They are no
    part of the asset's hash.
    """
    staged = Path(staging.absolute_staged_path)
    if staged.samefile(staging.source_path):
        return  # staging is turned off, and these are the files of the installation
    for file in staged.rglob("*"):
        if file.is_file() and file.stat().st_mode & _READABLE != _READABLE:
            file.chmod(_READABLE)


__all__ = ["make_readable"]
