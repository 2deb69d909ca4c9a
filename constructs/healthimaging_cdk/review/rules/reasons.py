"""Why each rule is there, and the page that says so."""

from __future__ import annotations

_GUIDE = "https://docs.aws.amazon.com/healthimaging/latest/devguide"
_CFN = "https://docs.aws.amazon.com/AWSCloudFormation/latest"
_STORE = f"{_CFN}/TemplateReference/aws-resource-healthimaging-datastore.html"
_ACTIONS = "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awshealthimaging.html"
_DEPUTY = "https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html"

REASONS: dict[str, tuple[str, str]] = {
    "HI101": (
        (
            "Every property of a data store is create-only, so that many a change replaces it. Without both "
            "policies CloudFormation deletes the old store, or leaves it in no stack when it holds image sets. "
            "The same is true of a store that a custom resource creates: its deletion calls the function. "
            "RetainExceptOnCreate retains, too."
        ),
        f"{_CFN}/TemplateReference/aws-attribute-updatereplacepolicy.html",
    ),
    "HI102": (
        (
            "CloudFormation cannot update the tags of a data store: one changed tag plans a new, empty store. "
            "Tags.of(app) reaches every CfnDatastore."
        ),
        _STORE,
    ),
    "HI103": (
        "Whoever deploys with another value of the parameter gets a new, empty store.",
        _STORE,
    ),
    "HI104": (
        "With a key of AWS nobody but AWS decides who can decrypt, and the key cannot be set later.",
        f"{_GUIDE}/data-encryption.html",
    ),
    "HI105": (
        (
            "A data store is unreadable without its key, for good. CloudFormation schedules the deletion of a key "
            "that leaves the stack."
        ),
        f"{_CFN}/TemplateReference/aws-resource-kms-key.html",
    ),
    "HI106": (
        (
            "The resource type is known where the service is, and nowhere else: the deploy fails. An ARN of a "
            "Region without the service stands for nothing, and so does an endpoint of one."
        ),
        "https://docs.aws.amazon.com/general/latest/gr/healthimaging.html",
    ),
    "HI201": (
        (
            "HealthImaging assumes roles on behalf of whoever starts a job, in any account. A role that does not "
            "say for which account can be made to read and write your buckets by somebody else's job. An ARN of "
            "aws:SourceArn with the account in it is as good as aws:SourceAccount."
        ),
        _DEPUTY,
    ),
    "HI202": (
        (
            "ForAllValues and IfExists hold for a request that does not carry the key, so that they protect from "
            "nothing. A Null condition that demands the key makes up for it, for aws:SourceArn "
            "a plain aws:SourceAccount as well."
        ),
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html",
    ),
    "HI203": (
        (
            "IAM does not check a principal's name in a condition or accepts it without meaning: the role can be "
            "assumed, or passed, by nobody."
        ),
        f"{_GUIDE}/getting-started-setting-up.html",
    ),
    "HI204": (
        (
            "A condition on a key that does not exist never holds: every job fails with AccessDenied. IAM does "
            "not tell the letter case of keys apart."
        ),
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html",
    ),
    "HI301": (
        (
            "medical-imaging:* and medical-imaging:D* hold DeleteDatastore and DeleteImageSet, which no reader "
            "and no importer needs."
        ),
        _ACTIONS,
    ),
    "HI302": (
        "IAM accepts an action that does not exist; it allows nothing, and denies nothing.",
        _ACTIONS,
    ),
    "HI303": (
        (
            "Actions on image sets ask for the data store and for the image set: a role with one of the two ARNs "
            "is denied. What is asked for a store is not allowed by the ARN of its image sets."
        ),
        _ACTIONS,
    ),
    "HI304": (
        (
            "The role reads or writes the images of every data store of the account, also of those that are "
            "created later. A condition, as on a tag of the store, says which."
        ),
        _ACTIONS,
    ),
    "HI305": (
        (
            "Whoever may pass any role to HealthImaging, or a role to any service, can use rights that were meant "
            "for something else."
        ),
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html",
    ),
    "HI307": (
        "StartDICOMImportJob is refused for a role whose trust does not name the service.",
        _DEPUTY,
    ),
    "HI401": (
        (
            "HealthImaging lists both buckets, and reads and writes under their keys with the rights of the data "
            "access role. What is missing shows when a job runs. Rights that a bucket's or a key's policy gives "
            "count, and what cannot be read, as a managed policy of AWS, may give them."
        ),
        f"{_GUIDE}/getting-started-setting-up.html",
    ),
    "HI402": (
        (
            "The role is used by a service on behalf of jobs: a job with another output overwrites what is in the "
            "bucket, the source included."
        ),
        _DEPUTY,
    ),
    "HI501": (
        (
            "A function that cannot start never responds. CloudFormation then waits for an hour, and for another "
            "one in the rollback."
        ),
        f"{_CFN}/UserGuide/template-custom-resources.html",
    ),
    "HI502": (
        (
            "A point in time as a property is another one in each synth: every diff shows a change, and every "
            "deploy calls the function, which may import everything again. A date alone is taken for a run id."
        ),
        f"{_CFN}/UserGuide/template-custom-resources.html",
    ),
    "HI503": (
        ("A job imports every object whose key begins with the prefix: studies/2026 takes studies/2026-old/ as well."),
        f"{_GUIDE}/understanding-import-jobs.html",
    ),
    "HI504": (
        "The next job scans the results of this one.",
        f"{_GUIDE}/understanding-import-jobs.html",
    ),
    "HI506": (
        (
            "StartDICOMImportJob takes one call a second, with a burst of two, and less in some Regions. "
            "CloudFormation creates what does not depend on each other at once. The imports of this library are "
            "left out: their function waits its turn."
        ),
        f"{_GUIDE}/endpoints-quotas.html",
    ),
    "HI507": (
        (
            "Step Functions and EventBridge Scheduler name operations as the API does, with a small first letter; "
            "another spelling is refused when the state machine is created."
        ),
        "https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html",
    ),
    "HI701": (
        (
            "A rule whose source, detail type or field does not exist never matches, and nobody notices. A rule "
            "without a data store matches the events of every store of the account (a warning). Events of SAM's "
            "functions and state machines are looked at, too. Sources that are "
            "not of AWS and detail types of CloudTrail are left alone."
        ),
        f"{_GUIDE}/event-notifications.html",
    ),
    "HI801": (
        (
            "An endpoint service, a namespace, a metric or a dimension that does not exist stays silent for ever. "
            "An endpoint without VpcEndpointType is a gateway, which only S3 and DynamoDB have. "
            "An endpoint without a policy lets every request of the VPC pass, also with somebody else's "
            "credentials to somebody else's store (a warning)."
        ),
        f"{_GUIDE}/monitoring-cloudwatch.html",
    ),
}
"""A reason and a page, by the id of the rule."""
