"""A local folder at synth: which of its files are imported, and why it cannot be imported.

Whatever this module accepts is a key in the input bucket later: the CDK CLI would leave some names out of its zip,
change others, and end without naming the file that is too large for it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LITTER = ("._*", ".DS_Store", ".git", "Desktop.ini", "Thumbs.db", "__MACOSX", "desktop.ini", "thumbs.db")
"""What file managers and Git leave in folders, as patterns of CDK that match the name in any depth."""

_LARGEST_FILE = 1_073_741_823
"""Bytes of one file that the zip writer of the CDK CLI takes ("buffer too large")."""
_LONGEST_KEY = 1024
"""Bytes of an object key (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)."""
_MOST_ENTRIES = 100_000
"""Files and folders of an asset; links to folders can make any number of them."""
_SHOWN = 3
_DRIVE = re.compile(r"[A-Za-z]:")
_LINE_ENDS = frozenset("\u2028\u2029")
_NO_CHARACTERS = frozenset("\ufffe\uffff")
_ADVICE = {
    "broken": "links lead to no file: fetch what they name (git annex get, datalad get), or leave them out by exclude",
    "outside": (
        "links lead out of the folder: put the files into it, or let links be followed by "
        "follow_symlinks=SymlinkFollowMode.ALWAYS"
    ),
    "loop": "links lead back to a folder that they are in: leave them out by exclude",
    "unreadable": "files or folders cannot be read: change their modes or owner, or leave them out by exclude",
    "special": "entries are neither files nor folders: leave them out by exclude",
    "encoding": "names are not UTF-8: rename them",
    "name": (
        "names have a backslash, a control character or a line end, or begin like a drive (C:), which is lost or "
        "changed on the way to S3: rename them"
    ),
    "long": f"names make object keys of more than {_LONGEST_KEY} bytes, which Amazon S3 does not take: shorten them",
    "large": f"files have more than the {_LARGEST_FILE} bytes that the CDK CLI can zip: use ImportSource.bucket",
}


@dataclass(frozen=True)
class LocalFolder:
    """The files of a folder that are imported, and what is wrong with it."""

    files: Mapping[str, int]
    """The bytes of each file, by its path in the folder with ``/`` between the parts."""
    violations: Sequence[str]
    """What is wrong, with the names that it is about."""
    has_links: bool
    """Whether any file is reached by a link."""
    directories: frozenset[str]
    """The real paths of the folders that files come from."""

    @property
    def total_bytes(self) -> int:
        """The bytes of all files."""
        return sum(self.files.values())

    def has_path(self, path: str) -> bool:
        """Whether a file or folder, which need not exist yet, is in one of the folders that files come from."""
        real = Path(os.path.realpath(path))
        return not self.directories.isdisjoint(map(str, (real, *real.parents)))


def is_litter(name: str) -> bool:
    """Whether a name is one of those that LITTER matches."""
    return name.startswith("._") or name in LITTER


def survey_folder(
    path: Path,
    *,
    is_excluded: Callable[[str], bool] | None = None,
    follows_all_links: bool = False,
    longest_prefix: int = 0,
) -> LocalFolder:
    """Walk through a folder as the CDK CLI will, and look at all that is imported from it.

    Args:
        path: the folder.
        is_excluded: whether a path in the folder is left out. Default: litter is.
        follows_all_links: whether links out of the folder are followed.
        longest_prefix: the bytes in front of the files' paths in their object keys.
    """
    survey = _Survey(Path(os.path.realpath(path)), is_excluded, follows_all_links, longest_prefix)
    survey.walk(survey.root, "", ())
    violations = list(survey.messages())
    if not survey.files and not violations:
        violations = ["holds no file: put the DICOM P10 files there before synth"]
    return LocalFolder(survey.files, violations, survey.has_links, frozenset(survey.directories))


@dataclass
class _Survey:
    root: Path
    is_excluded: Callable[[str], bool] | None
    follows_all_links: bool
    longest_prefix: int
    files: dict[str, int] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    problems: dict[str, list[str]] = field(default_factory=dict)
    entries: int = 0
    has_links: bool = False

    def walk(self, real: Path, name: str, ancestors: tuple[Path, ...]) -> None:
        """Look at all that is in a folder.

        Args:
            real: its real path.
            name: its path in the folder that is imported, with a slash at its end; the root has none.
            ancestors: the real paths of the folders on the way to it.
        """
        if real in ancestors:
            self.note("loop", name)
            return
        try:
            children = sorted(real.iterdir())
        except OSError:
            self.note("unreadable", name)
            return
        self.directories.add(str(real))
        for child in children:
            if self.entries > _MOST_ENTRIES:
                return
            if not self.leaves_out(name + child.name):
                self.look_at(child, name + child.name, (*ancestors, real))

    def leaves_out(self, name: str) -> bool:
        """Whether an entry is not looked at any further."""
        if self.is_excluded is None and is_litter(name.rpartition("/")[2]):
            return True
        if not _is_utf8(name):  # CDK cannot be asked about it
            self.note("encoding", name)
            return True
        return self.is_excluded is not None and self.is_excluded(str(self.root / name))

    def look_at(self, path: Path, name: str, ancestors: tuple[Path, ...]) -> None:
        """Look at one entry of a folder."""
        self.entries += 1
        try:
            if path.is_symlink():
                self.has_links = True
                path = path.resolve(strict=True)
                if not self.follows_all_links and not path.is_relative_to(self.root):
                    self.note("outside", name)
                    return
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError, RuntimeError):  # RuntimeError: links that lead to themselves
            self.note("broken", name)
            return
        except OSError as error:
            self.note("broken" if error.errno == errno.ELOOP else "unreadable", name)
            return
        if stat.S_ISDIR(status.st_mode):
            self.walk(path, f"{name}/", ancestors)
        elif stat.S_ISREG(status.st_mode):
            self.take(path, name, status.st_size)
        else:
            self.note("special", name)

    def take(self, real: Path, name: str, size: int) -> None:
        """Take a file, or note why not."""
        if _DRIVE.match(name) or "\\" in name or any(map(_is_lost, name)):
            self.note("name", name)
        if self.longest_prefix + len(name.encode()) > _LONGEST_KEY:
            self.note("long", name)
        if size > _LARGEST_FILE:
            self.note("large", f"{name} ({size} bytes)", is_quoted=False)
        if not _is_readable(real):
            self.note("unreadable", name)
        self.files[name] = size

    def note(self, problem: str, name: str, *, is_quoted: bool = True) -> None:
        """Note what an entry is refused for."""
        self.problems.setdefault(problem, []).append(ascii(name or ".") if is_quoted else ascii(name)[1:-1])

    def messages(self) -> list[str]:
        """Say what was noted, each kind of problem once, with some of the names."""
        found = []
        for problem, names in self.problems.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            found.append(f"{', '.join(names[:_SHOWN])}{more}: {_ADVICE[problem]}")
        if self.entries > _MOST_ENTRIES:
            found.append(f"holds more than {_MOST_ENTRIES} files and folders: use ImportSource.bucket for so many")
        return found


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_lost(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in _LINE_ENDS or character in _NO_CHARACTERS


def _is_readable(path: Path) -> bool:
    try:
        # os.access would answer for the real user instead of the effective one.
        with path.open("rb"):
            return True
    except OSError:
        return False


__all__ = ["LITTER", "LocalFolder", "survey_folder"]
