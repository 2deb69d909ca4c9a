"""The HealthImaging data store as an L2 construct."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import aws_cdk as cdk
from aws_cdk import Annotations, Arn, ArnFormat, Aspects, RemovalPolicy, Token
from aws_cdk import aws_iam as iam
from aws_cdk.aws_healthimaging import CfnDatastore
from aws_cdk.aws_kms import IKey
from constructs import Construct

from healthimaging_cdk._common.argument_types import check_types
from healthimaging_cdk._common.environment import stack_of
from healthimaging_cdk._common.messages import is_unresolved
from healthimaging_cdk._common.unfit import key_problems
from healthimaging_cdk._common.validation import Violations, warn_of_region
from healthimaging_cdk.datastore._metrics import DatastoreMetrics, StorageTier
from healthimaging_cdk.datastore._store_resource import PRIORITY, keep_tags, make_native
from healthimaging_cdk.datastore._tags import DatastoreTags
from healthimaging_cdk.datastore.datastore_grants import DatastoreGrants


class IDatastore(DatastoreMetrics):
    """A HealthImaging data store, created in this app or anywhere else.

    An abstract class and not a protocol, so that what every store can do is written once (docs/decisions/0005).

    Example:
        >>> def share(store: IDatastore) -> None:
        ...     CfnOutput(store, "Arn", value=store.datastore_arn)
        >>> share(Datastore(stack, "Store"))
    """

    @property
    def grants(self) -> DatastoreGrants:
        """What others may be allowed; each ``grant_*`` method is one of its methods."""
        return DatastoreGrants.from_datastore(self)

    @check_types
    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody find and read everything the store holds; see :meth:`DatastoreGrants.read`.

        Args:
            grantee: who may.
        """
        return self.grants.read(grantee)

    @check_types
    def grant_write(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody copy image sets, update them and store DICOM instances; see :meth:`DatastoreGrants.write`.

        Args:
            grantee: who may.
        """
        return self.grants.write(grantee)

    @check_types
    def grant_delete_image_sets(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody delete image sets; see :meth:`DatastoreGrants.delete_image_sets`.

        Args:
            grantee: who may.
        """
        return self.grants.delete_image_sets(grantee)

    @check_types
    def grant_start_import(self, grantee: iam.IGrantable, data_access_role: iam.IRole) -> iam.Grant:
        """Let somebody start import jobs with one data access role; see :meth:`DatastoreGrants.start_import`.

        Args:
            grantee: who may.
            data_access_role: the role that HealthImaging assumes, for example a :class:`DataAccessRole`.
        """
        return self.grants.start_import(grantee, data_access_role)

    @check_types
    def grant_manage_import_jobs(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let somebody list and look at import jobs; see :meth:`DatastoreGrants.manage_import_jobs`.

        Args:
            grantee: who may.
        """
        return self.grants.manage_import_jobs(grantee)

    @check_types
    def grant(self, grantee: iam.IGrantable, *actions: str) -> iam.Grant:
        """Let somebody do exactly what is listed; see :meth:`DatastoreGrants.actions`.

        Args:
            grantee: who may.
            actions: IAM actions, for example ``medical-imaging:GetImageFrame``. No wildcards.
        """
        return self.grants.actions(grantee, *actions)


class _DatastoreBase(IDatastore):
    """What the stores of this library have in common: they keep what they are known by."""

    _datastore_id: str
    _datastore_arn: str
    _encryption_key: IKey | None

    @property
    def datastore_id(self) -> str:
        """The id of the data store, 32 characters of ``0-9a-z``."""
        return self._datastore_id

    @property
    def datastore_arn(self) -> str:
        """The ARN of the data store."""
        return self._datastore_arn

    @property
    def encryption_key(self) -> IKey | None:
        """The customer-managed key of the data store, if it is known to have one."""
        return self._encryption_key


class LosslessStorageFormat(Enum):
    """How HealthImaging keeps lossless pixel data.

    Example:
        >>> Datastore(stack, "Store", lossless_storage_format=LosslessStorageFormat.JPEG_2000_LOSSLESS)
    """

    HTJ2K = "HTJ2K"
    """High-Throughput JPEG 2000, what a data store has unless told otherwise."""
    JPEG_2000_LOSSLESS = "JPEG_2000_LOSSLESS"
    """JPEG 2000 Lossless."""


class Datastore(_DatastoreBase):
    """A HealthImaging data store (``AWS::HealthImaging::Datastore``) that tags never replace.

    Name, key and tags of a data store are create-only in CloudFormation: a change of any of them plans a new, empty
    store. This construct therefore keeps tags out of the template's data store. Tags asked for with ``Tags.of(...)``
    reach the store in place, through TagResource and UntagResource, by a custom resource that exists only when there
    are tags. The store is retained when it leaves the stack and when it is replaced.

    Tags given to a whole stack (``Stack(tags=...)``, ``cdk deploy --tags``) are CloudFormation's own business: it
    passes them to the resources it makes, and what it does when they change later on a create-only store is not
    documented. Prefer ``Tags.of(stack)`` for a stack with a data store. Taking ``Tags`` away from the data store of a
    stack that was deployed without this construct replaces that store, as any change of them does.

    Example:
        >>> store = Datastore(stack, "Store", datastore_name="radiology")
        >>> granted = store.grant_read(viewer)
        >>> granted = store.grant(auditor, "medical-imaging:GetDatastore")
        >>> rule = store.on_image_set_created("Created", target=targets.LambdaFunction(index))

    See:
        https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-healthimaging-datastore.html
    """

    @check_types
    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        datastore_name: str | None = None,
        encryption_key: IKey | None = None,
        lossless_storage_format: LosslessStorageFormat | None = None,
        lambda_authorizer: cdk.aws_lambda.IFunction | None = None,
        auto_delete_image_sets: bool = False,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        """Create a data store.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore_name: 1 to 256 characters of ``A-Z a-z 0-9 . _ / # -``. Default: no name.
                Changing it replaces the store.
            encryption_key: a symmetric customer-managed key, which must not be deleted before the store. Default:
                an AWS owned key encrypts the store. Changing it replaces the store. Where a function serves the store
                (tags, what CloudFormation cannot do), the key is for its log as well: see :class:`DicomImport`.
            lossless_storage_format: how lossless pixel data is kept. Default: HTJ2K. It cannot be changed later.
            lambda_authorizer: the function that decides about OpenID Connect tokens of DICOMweb requests. Default:
                there is no such access. It cannot be changed later.
            auto_delete_image_sets: whether to delete all image sets when the whole stack is deleted, so that the store
                can be deleted. It needs ``RemovalPolicy.DESTROY``; synth fails if the store is retained by a later
                change of its policy. Only image sets of a live store with the tag
                ``healthimaging-cdk:auto-delete-image-sets`` are deleted, one in five seconds. More than fit into
                CloudFormation's hour (330) are refused before the first is deleted. A nested stack that is removed
                from its parent is deleted as a whole, too. Default: False.
            removal_policy: what becomes of the store when it leaves the stack or is replaced. Default: it is
                retained. A store that holds image sets cannot be deleted by CloudFormation at all.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: the name breaks a rule of the service model, the key is in
                another Region, or a store is retained whose image sets are to be deleted.
        """
        violations = Violations("Datastore", scope, construct_id)
        violations.check_removal_policy("removal_policy", removal_policy)
        violations.check_shape("datastore_name", datastore_name, "DatastoreName")
        violations.add(*key_problems("encryption_key", encryption_key))
        own = "use a key of the stack's Region"
        violations.check_place("encryption_key", encryption_key, stack_of(scope), region=own)
        if auto_delete_image_sets and removal_policy != RemovalPolicy.DESTROY:
            violations.add(
                "auto_delete_image_sets=True needs removal_policy=RemovalPolicy.DESTROY, others keep the store: give "
                "that, or omit auto_delete_image_sets"
            )
        violations.raise_any()
        super().__init__(scope, construct_id)
        warn_of_region(self)
        if stack_of(self).tags.tag_values():  # of the stack itself: Tags.of comes later
            Annotations.of(self).add_warning_v2(
                "healthimaging-cdk:stackTags",
                "the stack has tags of its own (Stack(tags=...)), which CloudFormation gives to this data store. A "
                "later change of them may replace the store, as it has replaced resources of other types: use "
                "Tags.of(stack).add(...) with the feature flag @aws-cdk/core:explicitStackTags, or acknowledge this "
                "warning",
            )
        if lossless_storage_format or lambda_authorizer:
            from healthimaging_cdk.datastore._custom_store import make_custom  # noqa: PLC0415 - slow, and rarely needed

            self._resource = make_custom(
                self,
                name=datastore_name,
                key=encryption_key,
                lossless_storage_format=lossless_storage_format.value if lossless_storage_format else None,
                lambda_authorizer=lambda_authorizer,
                removal_policy=removal_policy,
            )
        else:
            self._resource = make_native(self, name=datastore_name, key=encryption_key, removal_policy=removal_policy)
        # Tags are known only once all aspects have been there, so this one comes after any other.
        Aspects.of(self._resource.tagged).add(DatastoreTags(self, self._resource, encryption_key), priority=PRIORITY)
        self._datastore_id = self._resource.datastore_id
        self._datastore_arn = self._resource.datastore_arn
        self._encryption_key = encryption_key
        if auto_delete_image_sets:
            from healthimaging_cdk.datastore._image_set_deletion import delete_image_sets  # noqa: PLC0415 - as above

            delete_image_sets(self, self._resource, encryption_key)

    @check_types
    def apply_removal_policy(self, policy: RemovalPolicy) -> None:
        """Say what becomes of the store when it leaves the stack or is replaced.

        With ``auto_delete_image_sets=True`` synth fails for any policy but ``RemovalPolicy.DESTROY``.

        Example:
            >>> store.apply_removal_policy(RemovalPolicy.DESTROY)
        """
        violations = Violations("Datastore.apply_removal_policy", self)
        violations.check_removal_policy("policy", policy)
        violations.raise_any()
        self._resource.resource.apply_removal_policy(policy, apply_to_update_replace_policy=True)

    @check_types
    def keep_deployed(self, logical_id: str, tags: Mapping[str, str] | None = None) -> None:
        """Keep the store that the stack was deployed with as a ``CfnDatastore``, instead of creating a new one.

        CloudFormation knows a resource by its logical id, and replaces a data store whose name, key or tags differ from
        what it was created with. Give ``datastore_name`` and ``encryption_key`` as they were, and look at ``cdk diff``
        before the deploy: it must show no replacement (docs/moving-a-data-store.md).

        Args:
            logical_id: the logical id in the deployed template.
            tags: the tags in the deployed template, which stay there as they are; further ones change in place.
                Default: none.

        Raises:
            ValueError: the store is created by the function of this library.

        Example:
            >>> store.keep_deployed("Store", tags={"team": "radiology"})
        """
        violations = Violations("Datastore.keep_deployed", self)
        resource = self._resource.resource
        if not isinstance(resource, CfnDatastore):
            violations.add(
                "a store with lossless_storage_format or lambda_authorizer is none that CloudFormation has created: "
                "omit them"
            )
            violations.raise_any()
            return
        resource.override_logical_id(logical_id)
        keep_tags(resource, tags or {})

    @property
    def datastore_status(self) -> str:
        """The status of the data store when it was created: ``ACTIVE``."""
        return self._resource.attribute("DatastoreStatus")

    @property
    def created_at(self) -> str:
        """When the data store was created, as a timestamp string."""
        return self._resource.attribute("CreatedAt")

    @property
    def updated_at(self) -> str:
        """When the data store was last changed, as a timestamp string."""
        return self._resource.attribute("UpdatedAt")

    @staticmethod
    @check_types
    def from_datastore_arn(
        scope: Construct, construct_id: str, datastore_arn: str, *, encryption_key: IKey | None = None
    ) -> IDatastore:
        """Use a data store that exists, by its ARN.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore_arn: ``arn:PARTITION:medical-imaging:REGION:ACCOUNT:datastore/ID``.
            encryption_key: the store's customer-managed key, if it has one; without it grants name no key.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: the ARN is not that of a data store.

        Example:
            >>> arn = "arn:aws:medical-imaging:us-east-1:111122223333:datastore/0123456789abcdef0123456789abcdef"
            >>> store = Datastore.from_datastore_arn(stack, "Store", arn)
        """
        violations = Violations("Datastore.from_datastore_arn", scope, construct_id)
        if is_unresolved(datastore_arn) or datastore_arn.startswith("arn:"):
            violations.check_shape("datastore_arn", datastore_arn, "Arn")
        else:
            violations.add("datastore_arn must be an ARN, got an id: use Datastore.from_datastore_id")
        if "/imageset/" in datastore_arn:
            violations.add("datastore_arn names an image set: remove '/imageset/...'")
        violations.raise_any()
        return _ImportedDatastore(scope, construct_id, datastore_arn, encryption_key)

    @staticmethod
    @check_types
    def from_datastore_id(
        scope: Construct, construct_id: str, datastore_id: str, *, encryption_key: IKey | None = None
    ) -> IDatastore:
        """Use a data store that exists in this stack's account and Region, by its id.

        Args:
            scope: the parent construct.
            construct_id: the id in the scope.
            datastore_id: 32 characters of ``0-9a-z``.
            encryption_key: the store's customer-managed key, if it has one; without it grants name no key.

        Raises:
            TypeError: an argument is not of its type.
            ValueError: the id breaks the rule of the service model.

        Example:
            >>> store = Datastore.from_datastore_id(stack, "Store", "0123456789abcdef0123456789abcdef")
        """
        violations = Violations("Datastore.from_datastore_id", scope, construct_id)
        if datastore_id.startswith("arn:"):
            violations.add("datastore_id must be an id, got an ARN: use Datastore.from_datastore_arn")
        else:
            violations.check_shape("datastore_id", datastore_id, "DatastoreId")
        violations.raise_any()
        arn = stack_of(scope).format_arn(service="medical-imaging", resource="datastore", resource_name=datastore_id)
        return _ImportedDatastore(scope, construct_id, arn, encryption_key, datastore_id)


class _ImportedDatastore(_DatastoreBase):
    """A data store that this app only names."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        datastore_arn: str,
        encryption_key: IKey | None,
        datastore_id: str | None = None,
    ) -> None:
        super().__init__(scope, construct_id, environment_from_arn=datastore_arn)
        name = Arn.split(datastore_arn, ArnFormat.SLASH_RESOURCE_NAME).resource_name
        self._datastore_arn = datastore_arn
        self._datastore_id = datastore_id or Token.as_string(name)
        self._encryption_key = encryption_key


__all__ = ["Datastore", "IDatastore", "LosslessStorageFormat", "StorageTier"]
