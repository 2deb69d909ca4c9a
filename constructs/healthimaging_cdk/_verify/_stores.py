"""Experiments about data stores: several at once, tags of their stack, and their deletion."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.exceptions import ClientError, WaiterError

from healthimaging_cdk._verify import templates
from healthimaging_cdk._verify.experiment import NOTED, Experiment
from healthimaging_cdk._verify.lab import Lab, error_code
from healthimaging_cdk._verify.samples import p10_file

_DELETION_SECONDS = 600


def _three_stores(lab: Lab) -> Mapping[str, str]:
    try:
        lab.deploy("three-stores", templates.template({f"Store{number}": templates.store() for number in range(3)}))
    except WaiterError:
        return {"three data stores of one stack at once": f"failed: {lab.failures('three-stores')[0]}"}
    return {"three data stores of one stack at once": "created"}


def _stack_tags(lab: Lab) -> Mapping[str, str]:
    def deploy(owner: str) -> tuple[str, str]:
        outputs = lab.deploy("stack-tags", template, tags={"owner": owner})
        tags = lab.client("medical-imaging").list_tags_for_resource(resourceArn=outputs["Arn"])["tags"]
        return outputs["Id"], tags.get("owner", "")

    template = templates.template(
        {"Store": templates.store()}, {"Id": {"Ref": "Store"}, "Arn": templates.get("Store", "DatastoreArn")}
    )
    first, first_tag = deploy("one")
    try:
        second, second_tag = deploy("two")
    except WaiterError:
        after = f"the update fails: {lab.failures('stack-tags')[-1]}"
    else:
        after = "the data store is kept" if first == second else "the data store is replaced"
        after += ", with the new tag" if second_tag == "two" else ", without the new tag"
    return {
        "the tags of its stack are on a new data store": "yes" if first_tag == "one" else "no",
        "a changed tag of its stack": after,
    }


def _deletion(lab: Lab) -> Mapping[str, str]:
    """Use a store of its own, in a stack that is deleted with it."""
    healthimaging = lab.client("medical-imaging")
    outputs = lab.deploy(
        "deletion",
        templates.template(
            {
                "Store": templates.store(),
                "Input": templates.bucket(),
                "Output": templates.bucket(),
                "Role": templates.data_access_role(
                    templates.get("Store", "DatastoreArn"),
                    templates.get("Input", "Arn"),
                    templates.get("Output", "Arn"),
                ),
            },
            {
                "Id": {"Ref": "Store"},
                "Input": {"Ref": "Input"},
                "Output": {"Ref": "Output"},
                "Role": templates.get("Role", "Arn"),
            },
        ),
    )
    datastore_id = outputs["Id"]
    lab.client("s3").put_object(Bucket=outputs["Input"], Key="in/image.dcm", Body=p10_file("deletion"))
    job_id = lab.start_with_new_role(
        "in/",
        "deletion",
        datastoreId=datastore_id,
        dataAccessRoleArn=outputs["Role"],
        inputS3Uri=f"s3://{outputs['Input']}/in/",
        outputS3Uri=f"s3://{outputs['Output']}/out/",
    )

    def delete() -> str:
        try:
            return str(healthimaging.delete_datastore(datastoreId=datastore_id)["datastoreStatus"])
        except ClientError as error:
            return error_code(error)

    def job_ended() -> bool | None:
        job = healthimaging.get_dicom_import_job(datastoreId=datastore_id, jobId=job_id)["jobProperties"]
        return True if job["jobStatus"] in ("COMPLETED", "FAILED") else None

    def image_set() -> str | None:
        found = healthimaging.search_image_sets(datastoreId=datastore_id)["imageSetsMetadataSummaries"]
        return str(found[0]["imageSetId"]) if found else None

    answers = {"deleting a data store that runs a job": delete()}
    lab.wait_for(job_ended, "the end of the job", _DELETION_SECONDS)
    only = lab.wait_for(image_set, "the image set", _DELETION_SECONDS)
    answers["deleting a data store with an image set"] = delete()
    lab.empty_store(datastore_id)
    answers["GetImageSet after the deletion of an image set"] = _image_set_state(lab, datastore_id, only)
    answers["deleting a data store right after its image sets"] = delete()
    return answers


def _image_set_state(lab: Lab, datastore_id: str, image_set_id: str) -> str:
    try:
        found = lab.client("medical-imaging").get_image_set(datastoreId=datastore_id, imageSetId=image_set_id)
    except ClientError as error:
        return error_code(error)
    return str(found["imageSetState"])


EXPERIMENTS = (
    Experiment(
        "three-stores",
        "Three data stores that one stack creates at once.",
        {"three data stores of one stack at once": NOTED},
        6, 0.0, _three_stores,
    ),
    Experiment(
        "stack-tags",
        "What tags of its stack do to a data store.",
        {"the tags of its stack are on a new data store": NOTED, "a changed tag of its stack": NOTED},
        6, 0.0, _stack_tags,
    ),
    Experiment(
        "store-deletion",
        "When a data store can be deleted.",
        {
            "deleting a data store that runs a job": "ConflictException",
            "deleting a data store with an image set": "ConflictException",
            "GetImageSet after the deletion of an image set": "DELETED",
            "deleting a data store right after its image sets": "DELETING",
        },
        8, 0.0, _deletion,
    ),
)  # fmt: skip
