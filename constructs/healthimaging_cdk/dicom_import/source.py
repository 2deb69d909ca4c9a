"""Where the files of an import come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from aws_cdk import IgnoreStrategy, Stack, SymlinkFollowMode, Token
from aws_cdk.aws_s3 import IBucket
from aws_cdk.aws_s3_assets import Asset
from constructs import Construct

from healthimaging_cdk._common.argument_types import check_fields, check_types
from healthimaging_cdk._common.runtime import contract
from healthimaging_cdk._common.unfit import bucket_problems, prefix_problems
from healthimaging_cdk._common.validation import Violations, differing_places
from healthimaging_cdk.dicom_import._local_folder import LITTER, LocalFolder, survey_folder

DEFAULT_PREFIX: str = contract.DEFAULT_INPUT_PREFIX

_HASH_BYTES = 65
"""Of the folder in the bucket that a directory is unpacked into: the asset's hash and a slash."""
_LINKS_NOT_FOLLOWED = [SymlinkFollowMode.NEVER, SymlinkFollowMode.EXTERNAL]
"""CDK means by them what is done here for none."""


@dataclass(frozen=True)
class ImportSource:
    """The DICOM P10 files to import: a prefix of a bucket, or a local directory.

    Example:
        >>> DicomImport(stack, "Import", source=ImportSource.bucket(images, "studies/2026/"))
    """

    input_bucket: IBucket | None
    """The bucket to read. Default: the import creates a bucket."""
    prefix: str
    """The prefix to read, or the one to unpack a directory under."""
    owner_account_id: str | None = None
    """The account that owns the bucket, where it is not the data store's."""
    path: Path | None = None
    """The local directory, if it is one."""
    exclude: Sequence[str] = ()
    """What of a directory is left out, beside the litter of file managers."""
    follow_symlinks: SymlinkFollowMode = SymlinkFollowMode.BLOCK_EXTERNAL
    """Which links of a directory are followed."""
    folder: LocalFolder | None = field(init=False, repr=False, compare=False, default=None)
    """What the directory holds, if it is one."""

    def __post_init__(self) -> None:
        """Check what was given, however it was."""
        check_fields(self)
        violations = Violations("ImportSource")
        violations.check_choice("follow_symlinks", self.follow_symlinks, but=_LINKS_NOT_FOLLOWED)
        violations.check_prefix("prefix", self.prefix)
        violations.add(*prefix_problems("prefix", self.prefix), *bucket_problems("bucket", self.input_bucket))
        violations.check_account_id("owner_account_id", self.owner_account_id)
        if self.input_bucket is not None and self.owner_account_id and not Token.is_unresolved(self.owner_account_id):
            account = _said_account(self.input_bucket)
            if account and account != self.owner_account_id:
                violations.add(
                    f"owner_account_id is {self.owner_account_id} and the bucket is in account {account}: omit "
                    "owner_account_id, or import the bucket with its own account"
                )
        if self.path is not None:
            self._look_at_directory(violations, self.path)
        violations.raise_any()

    def _look_at_directory(self, violations: Violations, path: Path) -> None:
        if not path.is_dir():
            violations.add(f"path must be a directory, got {str(path)!r}")
            return
        real = os.path.realpath(path)
        if os.path.realpath(Path.cwd()).startswith(real.rstrip(os.sep) + os.sep) or Path.cwd().samefile(real):
            violations.add(
                f"path {str(path)!r} is or holds the working directory, with the app and its output: put the DICOM P10 "
                "files into a folder of their own"
            )
            return
        ignore = IgnoreStrategy.glob(real, [*LITTER, *self.exclude]) if self.exclude else None
        prefix = 0 if Token.is_unresolved(self.prefix) else len(self.prefix.encode())
        folder = survey_folder(
            path,
            is_excluded=ignore.ignores if ignore else None,
            follows_all_links=self.follow_symlinks is SymlinkFollowMode.ALWAYS,
            longest_prefix=prefix + _HASH_BYTES,
        )
        violations.add(*(f"path {str(path)!r}: {violation}" for violation in folder.violations))
        object.__setattr__(self, "folder", folder)

    @staticmethod
    @check_types
    def bucket(bucket: IBucket, prefix: str = "", *, owner_account_id: str | None = None) -> ImportSource:
        """All objects under a prefix of an S3 bucket, nested folders included.

        Args:
            bucket: the bucket. One imported by its name hides its key: pass ``encryption_key`` to
                ``Bucket.from_bucket_attributes`` if its objects are encrypted with a customer-managed key.
            prefix: what the keys begin with, ending in ``/``; the empty string stands for the whole bucket.
            owner_account_id: the 12 digits of the account that owns the bucket, sent as ``inputOwnerAccountId``, which
                HealthImaging asks for when that is another account or another Region; unless given, the account of the
                bucket where either is known (``Bucket.from_bucket_attributes(account=..., region=...)``, or a stack
                there). The policies of another account's bucket and its key must allow what the import's
                ``source_bucket_policy`` and ``source_key_policy`` say. The roles of the import then have names that
                are known before they are created.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: the prefix does not end in ``/``, or the account id is no
                account id, or not that of a bucket whose account is known.

        Example:
            >>> source = ImportSource.bucket(images, "studies/2026/", owner_account_id="111122223333")
        """
        return ImportSource(bucket, prefix, owner_account_id)

    @staticmethod
    @check_types
    def directory(
        path: str | Path,
        *,
        bucket: IBucket | None = None,
        prefix: str = DEFAULT_PREFIX,
        exclude: Sequence[str] = (),
        follow_symlinks: SymlinkFollowMode = SymlinkFollowMode.BLOCK_EXTERNAL,
    ) -> ImportSource:
        """A local directory, deployed as a CDK asset and unpacked before the import starts.

        Its files land under ``<prefix><asset hash>/``, so changed files import again by themselves, and files of
        earlier deploys stay where they are. Synth refuses, by name, what would not arrive there as it is
        (docs/local-files.md). **Not for patient data**: the zip stays in the account's CDK bootstrap bucket for as long
        as that bucket keeps its assets.

        Args:
            path: the directory, relative to the working directory or absolute. It must not hold the working directory
                or the output of the app.
            bucket: the bucket to unpack into. Default: the import creates a bucket.
            prefix: where in the bucket, ending in ``/``. Default: ``dicom/``.
            exclude: glob patterns of what to leave out, as CDK's assets take them; a pattern with ``!`` in front takes
                in again. Default: what file managers and Git leave behind (``.DS_Store``, ``._*``, ``__MACOSX``,
                ``Thumbs.db``, ``desktop.ini``, ``.git``), which is left out in any case.
            follow_symlinks: ``BLOCK_EXTERNAL`` follows links within the directory and refuses those that lead out of
                it, ``ALWAYS`` follows all. Default: ``BLOCK_EXTERNAL``.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: the directory does not exist or holds no file, holds something
                that cannot be imported, or the prefix does not end in ``/``.

        Example:
            >>> DicomImport(stack, "Import", source=ImportSource.directory("phantoms"))
        """
        violations = Violations("ImportSource.directory")
        violations.check_choice("follow_symlinks", follow_symlinks, but=_LINKS_NOT_FOLLOWED)
        if not os.fspath(path):
            violations.add("path is empty, which means the working directory: name a folder")
        violations.raise_any()
        # jsii has a working directory of its own
        return ImportSource(
            bucket, prefix, path=Path(path).absolute(), exclude=tuple(exclude), follow_symlinks=follow_symlinks
        )

    def stage(self, scope: Construct) -> StagedSource:
        """Make the asset of a local directory; a bucket is used as it is.

        Example:
            >>> prefix = ImportSource.directory("phantoms").stage(stack).prefix
        """
        if self.folder is None:
            return StagedSource(self.prefix, None)
        # The mode is part of the asset's hash: a folder without links keeps the hash that it had before.
        follow = SymlinkFollowMode.ALWAYS if self.folder.has_links else None
        path = os.path.realpath(str(self.path))
        asset = Asset(scope, "Files", path=path, exclude=[*LITTER, *self.exclude], follow_symlinks=follow)
        return StagedSource(f"{self.prefix}{asset.asset_hash}/", asset)


def with_owner(source: ImportSource, stack: Stack) -> ImportSource:
    """The source as a stack sees it: with the owner of its bucket, where that is known to be another account."""
    bucket = source.input_bucket
    # A directory is unpacked by the function of the stack itself, which knows no other account.
    if bucket is None or source.path is not None or source.owner_account_id is not None:
        return source
    account = bucket.env.account
    if Token.is_unresolved(account) or account == stack.account:
        return source
    return replace(source, owner_account_id=account)


def owner_to_send(source: ImportSource, stack: Stack) -> str | None:
    """The owner as HealthImaging asks for it: also of a bucket in another Region, whoever that is."""
    bucket = source.input_bucket
    if source.owner_account_id is None and bucket is not None and "Region" in differing_places(bucket.env, stack):
        return bucket.env.account
    return source.owner_account_id


def _said_account(bucket: IBucket) -> str | None:
    """The account of a bucket, if somebody has said it."""
    account = bucket.env.account
    if Token.is_unresolved(account):
        return None
    # CDK takes a bucket that is only named for one of the stack's account, wherever it may lie.
    assumed = account == bucket.stack.account and bucket.node.default_child is None
    return None if assumed else account


@dataclass(frozen=True)
class StagedSource:
    """A source as one import reads it."""

    prefix: str
    asset: Asset | None


__all__ = ["ImportSource"]
