"""Where the files of an import come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from aws_cdk import Stack, Token
from aws_cdk.aws_s3 import IBucket
from aws_cdk.aws_s3_assets import Asset
from constructs import Construct

from healthimaging_cdk._common.validation import BUCKET, PATH, TEXT, Violations, differing_places, instance_of, optional

DEFAULT_PREFIX = "dicom/"
"""The input prefix in a bucket that the import makes."""

_KINDS = {
    "input_bucket": optional(BUCKET),
    "prefix": TEXT,
    "owner_account_id": optional(TEXT),
    "path": optional(instance_of(Path, "a Path", "use ImportSource.directory")),
}
_KINDS_OF_BUCKET = {"bucket": BUCKET, "prefix": TEXT, "owner_account_id": optional(TEXT)}
_KINDS_OF_DIRECTORY = {"path": PATH, "bucket": optional(BUCKET), "prefix": TEXT}


@dataclass(frozen=True)
class ImportSource:
    """The DICOM P10 files to import: a prefix of a bucket, or a local directory.

    Example:
        >>> DicomImport(stack, "Import", source=ImportSource.bucket(images, "studies/2026/"))
    """

    input_bucket: IBucket | None
    """The bucket to read; without one the import makes a bucket."""
    prefix: str
    """The prefix to read, or the one to unpack a directory under."""
    owner_account_id: str | None = None
    """The account that owns the bucket, where it is not the data store's."""
    path: Path | None = None
    """The local directory, if it is one."""

    def __post_init__(self) -> None:
        """Check what was given, however it was."""
        violations = Violations("ImportSource")
        violations.require_kinds(_KINDS, vars(self))
        violations.check_prefix("prefix", self.prefix)
        violations.check_account_id("owner_account_id", self.owner_account_id)
        if self.input_bucket is not None and self.owner_account_id and not Token.is_unresolved(self.owner_account_id):
            account = _said_account(self.input_bucket)
            if account and account != self.owner_account_id:
                violations.add(
                    f"owner_account_id is {self.owner_account_id} and the bucket is in account {account}: omit "
                    "owner_account_id, or import the bucket with its own account"
                )
        if self.path is not None and not self.path.is_dir():
            violations.add(f"path must be a directory, got {str(self.path)!r}")
        elif self.path is not None and not any(file.is_file() for file in self.path.rglob("*")):
            violations.add(f"path {str(self.path)!r} holds no file: put the DICOM P10 files there before synth")
        violations.raise_any()

    @staticmethod
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
                are known before they are made.

        Raises:
            ValueError: an argument is of a wrong kind, the prefix does not end in ``/``, or the account id is no
                account id, or not that of a bucket whose account is known.

        Example:
            >>> source = ImportSource.bucket(images, "studies/2026/", owner_account_id="111122223333")
        """
        Violations("ImportSource.bucket").require_kinds(_KINDS_OF_BUCKET, locals())
        return ImportSource(bucket, prefix, owner_account_id)

    @staticmethod
    def directory(path: str | Path, *, bucket: IBucket | None = None, prefix: str = DEFAULT_PREFIX) -> ImportSource:
        """A local directory, deployed as a CDK asset and unpacked before the import starts.

        Its files land under ``<prefix><asset hash>/``, so changed files import again by themselves, and files of
        earlier deploys stay where they are. **Not for patient data**: the zip stays in the account's CDK bootstrap
        bucket for as long as that bucket keeps its assets.

        Args:
            path: the directory, relative to the working directory or absolute.
            bucket: the bucket to unpack into; without one the import makes a bucket.
            prefix: where in the bucket, ending in ``/``; ``dicom/`` unless given.

        Raises:
            ValueError: an argument is of a wrong kind, the directory does not exist or holds no file, or the prefix
                does not end in ``/``.

        Example:
            >>> DicomImport(stack, "Import", source=ImportSource.directory("phantoms"))
        """
        Violations("ImportSource.directory").require_kinds(_KINDS_OF_DIRECTORY, locals())
        return ImportSource(bucket, prefix, path=Path(path).absolute())  # jsii has a working directory of its own

    def stage(self, scope: Construct) -> StagedSource:
        """Make the asset of a local directory; a bucket is used as it is.

        Example:
            >>> prefix = ImportSource.directory("phantoms").stage(stack).prefix
        """
        if self.path is None:
            return StagedSource(self.prefix, None)
        asset = Asset(scope, "Files", path=str(self.path))
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
