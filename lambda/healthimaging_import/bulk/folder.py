"""The folder of bulk imports in the output bucket: plans, states, results and reports, written by condition.

Apart from the records of imports: ``<output prefix>.healthimaging-cdk/bulk/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from healthimaging_import.aws.clients import Aws
from healthimaging_import.bulk.settings import Settings
from healthimaging_import.contract import BULK_FOLDER, RECORDS_FOLDER
from healthimaging_import.errors import DECODE_ERRORS, TerminalError

_PURPOSE = "bulk import files"


class Folder:
    """Reads and writes the files of bulk imports."""

    def __init__(self, aws: Aws, settings: Settings) -> None:
        """Take the AWS calls, and where the folder is."""
        self._aws = aws
        self._bucket = settings.output_bucket
        self._prefix = f"{settings.output_prefix}{RECORDS_FOLDER}{BULK_FOLDER}"

    def uri(self, name: str) -> str:
        """Return the S3 URI of a file."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Return a file and its tag; None where there is none."""
        return self._aws.read_bytes(self._bucket, self._prefix + name, purpose=_PURPOSE)

    def read_json(self, name: str) -> tuple[dict[str, Any], str] | None:
        """Return a JSON file and its tag; None where there is none.

        Raises:
            TerminalError: it is no JSON object.
        """
        found = self.read(name)
        if found is None:
            return None
        try:
            document = json.loads(found[0])
        except DECODE_ERRORS:
            document = None
        if not isinstance(document, dict):
            raise TerminalError(f"{name.rsplit('/', 1)[-1]} of the bulk import is damaged: put an earlier version back")
        return document, found[1]

    def write(self, name: str, body: bytes, tag: str | None = None) -> str:
        """Write a file; returns its tag.

        Args:
            name: its name in the folder.
            body: its content.
            tag: what it has to have still; an empty one stands for no such file, None for anything.

        Raises:
            ConflictError: it has another tag.
        """
        return self._aws.write_object(self._bucket, self._prefix + name, body, tag, purpose=_PURPOSE)

    def write_json(self, name: str, document: Mapping[str, Any], tag: str | None = None) -> str:
        """Write a JSON file; arguments and errors are those of :meth:`write`."""
        return self.write(name, json.dumps(document, sort_keys=True, ensure_ascii=False).encode(), tag)
