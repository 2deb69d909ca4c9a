"""The data store as an L2: what stands in the template, and what must never stand there."""

import pytest
from aws_cdk import (
    App,
    Aspects,
    CfnDeletionPolicy,
    CfnResource,
    IAspect,
    RemovalPolicies,
    RemovalPolicy,
    Stack,
    Stage,
    Tags,
    Token,
    assertions,
)
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from jsii import implements

from healthimaging_cdk import Datastore, IDatastore, LosslessStorageFormat
from tests.library.properties import every_property

STORE = "AWS::HealthImaging::Datastore"
TAGS = "Custom::HealthImagingDatastoreTags"
ID = "0123456789abcdef0123456789abcdef"
ARN = f"arn:aws:medical-imaging:eu-west-1:111122223333:datastore/{ID}"


def test_a_datastore_with_minimal_properties(stack, synthesize):
    store = Datastore(stack, "Store")
    found = synthesize(stack)
    assert [STORE] == found.types()
    assert {"Type": STORE, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"} == found.only(STORE)
    assert store.encryption_key is None


@pytest.mark.slow
def test_a_datastore_with_all_properties(stack, synthesize):
    key = kms.Key(stack, "Key")
    authorizer = lambda_.Function.from_function_attributes(
        stack,
        "Authorizer",
        function_arn="arn:aws:lambda:us-east-1:111122223333:function:authorizer",
        same_environment=True,
    )
    given = every_property(
        Datastore,
        datastore_name="radiology",
        encryption_key=key,
        lossless_storage_format=LosslessStorageFormat.JPEG_2000_LOSSLESS,
        lambda_authorizer=authorizer,
        auto_delete_image_sets=True,
        removal_policy=RemovalPolicy.DESTROY,
    )
    store = Datastore(stack, "Store", **given)
    found = synthesize(stack)
    created = found.only("Custom::HealthImagingDatastore")
    expected = {
        "DatastoreName": "radiology",
        "KmsKeyArn": stack.resolve(key.key_arn),
        "LosslessStorageFormat": "JPEG_2000_LOSSLESS",
        "LambdaAuthorizerArn": authorizer.function_arn,
    }
    assert expected == {name: created["Properties"][name] for name in expected}
    assert "Delete" == created["DeletionPolicy"]
    assert 1 == len(found.of_type("Custom::HealthImagingImageSetDeletion"))
    assert store.encryption_key is key


def test_a_bare_store_is_one_resource(stack, synthesize):
    Datastore(stack, "Store")
    assert [STORE] == synthesize(stack).types()


def test_a_store_is_retained_on_delete_and_on_replacement(stack, synthesize):
    Datastore(stack, "Store")
    store = synthesize(stack).only(STORE)
    assert ("Retain", "Retain") == (store["DeletionPolicy"], store["UpdateReplacePolicy"])


def test_the_removal_policy_holds_for_replacement_too(stack, synthesize):
    Datastore(stack, "Store", removal_policy=RemovalPolicy.DESTROY)
    store = synthesize(stack).only(STORE)
    assert ("Delete", "Delete") == (store["DeletionPolicy"], store["UpdateReplacePolicy"])


def test_name_and_key_reach_the_store(stack, synthesize):
    key = kms.Key(stack, "Key")
    Datastore(stack, "Store", datastore_name="radiology/2026", encryption_key=key)
    expected = {"DatastoreName": "radiology/2026", "KmsKeyArn": stack.resolve(key.key_arn)}
    assert expected == synthesize(stack).only(STORE)["Properties"]


@pytest.mark.parametrize("where", ["app", "stack", "construct"])
def test_tags_are_not_in_the_stores_properties_and_reach_it_by_the_custom_resource(app, stack, synthesize, where):
    store = Datastore(stack, "Store")
    Tags.of({"app": app, "stack": stack, "construct": store}[where]).add("team", "radiology")
    found = synthesize(stack)
    assert "Tags" not in found.only(STORE).get("Properties", {})
    tags = found.only(TAGS)["Properties"]
    assert {"team": "radiology"} == tags["Tags"]
    assert stack.resolve(store.datastore_arn) == tags["DatastoreArn"]


def test_the_tag_function_may_tag_this_store_alone(stack, synthesize):
    store = Datastore(stack, "Store")
    Tags.of(store).add("team", "radiology")
    statements = synthesize(stack).statements_of("StoreTagsRoleC885DDB8")
    tagging = [s for s in statements if "medical-imaging:TagResource" in s["Action"]]
    assert [stack.resolve(store.datastore_arn)] == [s["Resource"] for s in tagging]


def test_two_tagged_stores_share_one_function(stack, synthesize):
    Datastore(stack, "One")
    Datastore(stack, "Two")
    Tags.of(stack).add("team", "radiology")
    found = synthesize(stack)
    assert (2, 1) == (len(found.of_type(TAGS)), len(found.of_type("AWS::Lambda::Function")))


@implements(IAspect)
class Boundary:
    def visit(self, node) -> None:
        if CfnResource.is_cfn_resource(node) and node.cfn_resource_type == "AWS::IAM::Role":
            node.add_property_override("PermissionsBoundary", "arn:aws:iam::111122223333:policy/edge")


@pytest.mark.slow
@pytest.mark.parametrize("context", [{}, {"@aws-cdk/core:aspectStabilization": False}])
def test_what_serves_the_tags_is_seen_by_other_aspects(synthesize, context):
    stack = Stack(App(context=context), "Stack")
    Datastore(stack, "Store")
    Aspects.of(stack).add(Boundary())
    Tags.of(stack).add("team", "radiology")
    found = synthesize(stack)
    roles = found.of_type("AWS::IAM::Role")
    assert 3 == len(roles)
    assert ["arn:aws:iam::111122223333:policy/edge"] * 3 == [r["Properties"]["PermissionsBoundary"] for r in roles]
    tag = [{"Key": "team", "Value": "radiology"}]
    assert tag == found.only("AWS::Lambda::Function")["Properties"]["Tags"]


def test_a_permissions_boundary_reaches_the_roles_that_serve_tags(stack, synthesize):
    Datastore(stack, "Store")
    policy = iam.ManagedPolicy.from_managed_policy_name(stack, "Edge", "edge")
    iam.PermissionsBoundary.of(stack).apply(policy)
    Tags.of(stack).add("team", "radiology")
    roles = synthesize(stack).of_type("AWS::IAM::Role")
    assert [True] * 3 == ["PermissionsBoundary" in role["Properties"] for role in roles]


def test_tags_work_in_a_stage(app, synthesize):
    stage = Stage(app, "Prod")
    stack = Stack(stage, "Stack")
    Datastore(stack, "Store")
    Tags.of(stage).add("team", "radiology")
    assert {"team": "radiology"} == synthesize(stack).only(TAGS)["Properties"]["Tags"]


@pytest.fixture
def annotated() -> Stack:
    """A stack whose errors are annotations; with the feature flag they end synth (test_feature_flags.py)."""
    flags = {"@aws-cdk/core:annotationsInValidationReport": False}
    return Stack(App(analytics_reporting=False, post_cli_context=flags), "Stack")


def test_fails_tags_that_healthimaging_would_refuse_are_refused_at_synth(annotated, synthesize):
    stack = annotated
    Tags.of(Datastore(stack, "Store")).add("cost centre", "7")
    synthesize(stack)
    message = assertions.Match.string_like_regexp("tags key 'cost centre' must match")
    assertions.Annotations.from_stack(stack).has_error("/Stack/Store", message)


def test_a_construct_may_have_the_id_of_tags_that_there_are_not(stack, synthesize):
    Datastore(stack, "Store").on_event("Tags")
    synthesize(stack)
    assertions.Annotations.from_stack(stack).has_no_error("*", assertions.Match.any_value())


def test_fails_tags_whose_id_is_taken(annotated):
    stack = annotated
    Datastore(stack, "Store").on_event("Tags")
    Tags.of(stack).add("team", "radiology")
    message = "Datastore: Stack/Store/Tags has the id under which the tags of a store are kept: give it another"
    assertions.Annotations.from_stack(stack).has_error("/Stack/Store", message)


def test_fails_a_store_that_is_nothing_but_its_interface(stack):
    with pytest.raises(TypeError, match="abstract class IDatastore"):
        IDatastore(stack, "Store")


def test_an_excluded_tag_stays_away(stack, synthesize):
    Datastore(stack, "Store")
    Tags.of(stack).add("team", "radiology", exclude_resource_types=[STORE])
    assert [STORE] == synthesize(stack).types()


def test_attributes_are_those_of_the_resource(stack):
    store = Datastore(stack, "Store")
    attributes = [store.datastore_id, store.datastore_arn, store.datastore_status, store.created_at, store.updated_at]
    names = ["DatastoreId", "DatastoreArn", "DatastoreStatus", "CreatedAt", "UpdatedAt"]
    assert [{"Fn::GetAtt": ["Store1D2A845B", name]} for name in names] == stack.resolve(attributes)


def test_a_store_is_found_by_its_arn(stack):
    store = Datastore.from_datastore_arn(stack, "Store", ARN)
    assert (ID, ARN, "eu-west-1", "111122223333") == (
        store.datastore_id,
        store.datastore_arn,
        store.env.region,
        store.env.account,
    )


def test_a_store_is_found_by_its_id(stack):
    store = Datastore.from_datastore_id(stack, "Store", ID)
    parts = stack.resolve(store.datastore_arn)["Fn::Join"][1]
    assert ID == store.datastore_id
    assert f":datastore/{ID}" == parts[-1]


def test_tokens_pass_every_check_of_an_imported_store(stack):
    token = Token.as_string({"Ref": "Parameter"})
    by_id = Datastore.from_datastore_id(stack, "ById", token)
    by_arn = Datastore.from_datastore_arn(stack, "ByArn", token)
    assert {"Ref": "Parameter"} == stack.resolve(by_id.datastore_id)
    assert "Fn::Select" in stack.resolve(by_arn.datastore_id)


def test_an_imported_store_knows_the_key_it_was_given(stack):
    key = kms.Key(stack, "Key")
    assert key is Datastore.from_datastore_id(stack, "Store", ID, encryption_key=key).encryption_key


@pytest.mark.parametrize("name", ["", "a b", "x" * 257, "ümlaut"])
def test_fails_a_name_that_the_service_model_refuses(stack, name):
    with pytest.raises(ValueError, match="Datastore: datastore_name"):
        Datastore(stack, "Store", datastore_name=name)
    assert [] == stack.node.children


@pytest.mark.parametrize("arn", ["", "arn:aws:s3:::bucket", ARN + "/imageset/" + ID, ARN[:-1]])
def test_fails_an_arn_of_something_else(stack, arn):
    with pytest.raises(ValueError, match="from_datastore_arn: datastore_arn"):
        Datastore.from_datastore_arn(stack, "Store", arn)


def test_fails_an_arn_where_an_id_is_meant(stack):
    expected = "Datastore.from_datastore_id: datastore_id must be an id, got an ARN: use Datastore.from_datastore_arn"
    with pytest.raises(ValueError, match=f"^{expected} "):
        Datastore.from_datastore_id(stack, "Store", ARN)


def test_fails_an_id_that_is_none(stack):
    with pytest.raises(ValueError, match="from_datastore_id: datastore_id must match"):
        Datastore.from_datastore_id(stack, "Store", "Store")


CUSTOM = "Custom::HealthImagingDatastore"
EMPTYING = "Custom::HealthImagingImageSetDeletion"
JPEG = LosslessStorageFormat.JPEG_2000_LOSSLESS


def test_what_cloudformation_lacks_is_made_by_a_custom_resource_with_the_same_interface(stack, synthesize):
    store = Datastore(stack, "Store", datastore_name="viewer", lossless_storage_format=JPEG)
    found = synthesize(stack)
    made = found.only(CUSTOM)
    assert [] == found.of_type(STORE)
    assert ("viewer", "JPEG_2000_LOSSLESS") == (
        made["Properties"]["DatastoreName"],
        made["Properties"]["LosslessStorageFormat"],
    )
    names = ["DatastoreId", "DatastoreArn", "DatastoreStatus", "CreatedAt", "UpdatedAt"]
    attributes = [store.datastore_id, store.datastore_arn, store.datastore_status, store.created_at, store.updated_at]
    assert names == [stack.resolve(attribute)["Fn::GetAtt"][1] for attribute in attributes]


@pytest.mark.parametrize(("policy", "expected"), [(RemovalPolicy.RETAIN, "Retain"), (RemovalPolicy.DESTROY, "Delete")])
def test_the_removal_policy_holds_for_such_a_store_too(stack, synthesize, policy, expected):
    Datastore(stack, "Store", lossless_storage_format=JPEG, removal_policy=policy)
    made = synthesize(stack).only(CUSTOM)
    assert (expected, expected) == (made["DeletionPolicy"], made["UpdateReplacePolicy"])


@pytest.mark.slow
def test_tags_of_such_a_store_are_not_in_its_properties_and_reach_it_in_place(stack, synthesize):
    store = Datastore(stack, "Store", lossless_storage_format=JPEG)
    Tags.of(stack).add("team", "radiology")
    found = synthesize(stack)
    assert "team" not in str(found.only(CUSTOM))
    assert {"team": "radiology"} == found.only(TAGS)["Properties"]["Tags"]
    assert stack.resolve(store.datastore_arn) == found.only(TAGS)["Properties"]["DatastoreArn"]


def test_only_a_store_with_this_stacks_tag_can_be_deleted(stack, synthesize):
    Datastore(stack, "Store", lossless_storage_format=JPEG)
    statements = [
        statement
        for policy in synthesize(stack).of_type("AWS::IAM::Policy")
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "DeleteDatastore" in str(statement["Action"])
    ]
    assert [{"StringEquals": {"aws:ResourceTag/healthimaging-cdk:stack": {"Ref": "AWS::StackId"}}}] == [
        statement["Condition"] for statement in statements
    ]


def test_healthimaging_may_call_the_authorizer_before_the_store_is_made(stack, synthesize):
    code = lambda_.Code.from_inline("def handle(event, context): pass")
    function = lambda_.Function(
        stack, "Authorizer", code=code, handler="index.handle", runtime=lambda_.Runtime.PYTHON_3_14
    )
    Datastore(stack, "Store", lambda_authorizer=function)
    found = synthesize(stack)
    assert stack.resolve(function.function_arn) == found.only(CUSTOM)["Properties"]["LambdaAuthorizerArn"]
    permissions = {
        name: resource["Properties"]
        for name, resource in found.resources.items()
        if resource["Type"] == "AWS::Lambda::Permission"
    }
    (permission,) = [name for name, it in permissions.items() if "medical-imaging" in it["Principal"]]
    assert permission in found.only(CUSTOM)["DependsOn"]
    # For stores of other accounts HealthImaging must not call it.
    assert {"Ref": "AWS::AccountId"} == permissions[permission]["SourceAccount"]


def test_emptying_is_off_by_default_and_one_resource_when_asked_for(stack, synthesize):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    emptying = synthesize(stack).only(EMPTYING)
    assert stack.resolve(store.datastore_id) == emptying["Properties"]["DatastoreId"]


def test_fails_to_empty_a_store_that_is_retained(stack):
    with pytest.raises(ValueError, match=r"auto_delete_image_sets=True needs removal_policy=RemovalPolicy\.DESTROY"):
        Datastore(stack, "Store", auto_delete_image_sets=True)


def test_image_set_deletion_may_see_whether_an_image_set_is_gone(stack, synthesize):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    found = synthesize(stack)
    role = found.only(EMPTYING)["Properties"]["RoleArn"]["Fn::GetAtt"][0]
    (deleting,) = [it for it in found.statements_of(role) if "medical-imaging:DeleteImageSet" in it["Action"]]
    assert ["medical-imaging:DeleteImageSet", "medical-imaging:GetImageSet"] == deleting["Action"]
    assert stack.resolve([store.datastore_arn, f"{store.datastore_arn}/imageset/*"]) == deleting["Resource"]


def retain_by_method(store: Datastore) -> None:
    store.apply_removal_policy(RemovalPolicy.RETAIN)


def retain_by_aspect(store: Datastore) -> None:
    RemovalPolicies.of(store.stack).retain(priority=900)


def retain_in_the_template(store: Datastore) -> None:
    for child in store.node.find_all():
        if CfnResource.is_cfn_resource(child) and child.cfn_resource_type in {STORE, CUSTOM}:
            child.cfn_options.deletion_policy = CfnDeletionPolicy.RETAIN_EXCEPT_ON_CREATE


@pytest.mark.parametrize("options", [{}, {"lossless_storage_format": JPEG}], ids=["native", "by the function"])
@pytest.mark.parametrize("retain", [retain_by_method, retain_by_aspect, retain_in_the_template])
def test_fails_to_delete_the_image_sets_of_a_store_that_is_retained_later(stack, synthesize, retain, options):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY, **options)
    retain(store)
    with pytest.raises(RuntimeError, match=r"Datastore Stack/Store: auto_delete_image_sets=True needs RemovalPolicy"):
        synthesize(stack)


def test_a_store_that_is_deleted_after_all_may_have_its_image_sets_deleted(stack, synthesize):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    store.apply_removal_policy(RemovalPolicy.RETAIN)
    store.apply_removal_policy(RemovalPolicy.DESTROY)
    assert synthesize(stack).only(EMPTYING)


def test_tags_of_the_stack_itself_are_warned_of(app):
    stack = Stack(app, "Tagged", tags={"team": "radiology"})
    Datastore(stack, "Store")
    message = assertions.Match.string_like_regexp("the stack has tags of its own .Stack.tags=.*explicitStackTags")
    assertions.Annotations.from_stack(stack).has_warning("/Tagged/Store", message)


def test_tags_that_are_added_are_not_warned_of(app, stack):
    Datastore(stack, "Store")
    Tags.of(app).add("team", "radiology")
    assert [] == assertions.Annotations.from_stack(stack).find_warning("*", assertions.Match.any_value())
