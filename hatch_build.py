"""What the package says of itself on PyPI: the README with links that lead somewhere, and the project's addresses.

The README is written for a Git host, whose relative links are dead on PyPI. Where the address of the repository is
known (``PROJECT_URL``, which the release workflow sets), links become absolute. Elsewhere their words stay, without a
link.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:)([^)\s]+)\)")


class ProjectMetadata(MetadataHookInterface):
    """Sets ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in what is dynamic."""
        repository = os.environ.get("PROJECT_URL", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": linked(text, repository, metadata["version"])}
        metadata["urls"] = {**self.config.get("urls", {}), **addresses(repository)}


def linked(text: str, repository: str, version: str) -> str:
    """The README with absolute links into the release's tag, or without links where there is no repository."""

    def link(match: re.Match[str]) -> str:
        words, target = match.groups()
        return f"[{words}]({repository}/blob/v{version}/{posixpath.normpath(target)})" if repository else words

    return _LINK.sub(link, text)


def addresses(repository: str) -> dict[str, str]:
    """The addresses that follow from the repository's."""
    if not repository:
        return {}
    return {
        "Repository": repository,
        "Documentation": f"{repository}/tree/main/docs",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{repository}/security/policy",
    }
