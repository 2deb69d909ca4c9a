"""A resource, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from healthimaging_cdk.review.reading.reader import Reader
from healthimaging_cdk.review.reading.template import Template


@dataclass(frozen=True, eq=False)
class TemplateResource:
    """A resource of a template."""

    reader: Reader
    logical_id: str
    resource: dict[str, Any]

    @property
    def template(self) -> Template:
        """The template that it stands in."""
        return self.reader.template

    @property
    def type(self) -> str:
        """Its CloudFormation type."""
        return str(self.resource["Type"])
