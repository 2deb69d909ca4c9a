"""Patches of ministack's CloudFormation: what a bucket keeps of its template."""

# ruff: noqa: SLF001 - ministack has no public interface; tables.py guards every name that is used here

from __future__ import annotations

from ministack.services import s3
from ministack.services.cloudformation import provisioners

from healthimaging_local.ports import Json


def buckets_have_the_tags_of_their_template() -> None:
    """Give a bucket its ``Tags``: what empties buckets with their stack asks for a tag before it deletes anything."""
    original = provisioners._s3_apply_configurations

    def apply_configurations(name: str, props: dict[str, Json], old_props: dict[str, Json] | None = None) -> None:
        original(name, props, old_props)
        tags = props.get("Tags") or []
        if tags:
            s3._bucket_tags[name] = {tag["Key"]: tag["Value"] for tag in tags}
        elif (old_props or {}).get("Tags"):
            s3._bucket_tags.pop(name, None)

    provisioners._s3_apply_configurations = apply_configurations
