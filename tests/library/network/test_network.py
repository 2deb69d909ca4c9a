"""The function in a VPC, and the endpoints that it and the users of a data store go through."""

import ast
import json

import botocore.session
import pytest
from aws_cdk import Annotations, App, NestedStack, RemovalPolicy, Stack, Stage, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template
from constructs import Construct

from healthimaging_cdk import Datastore, DicomImport, HealthImagingEndpoints, ImportNetwork, ImportSource, Notify
from healthimaging_cdk._common.runtime import contract
from tests.conftest import ROOT
from tests.library.network.vpcs import HERE, import_vpc

pytestmark = pytest.mark.slow

ENDPOINT = "AWS::EC2::VPCEndpoint"
FUNCTION = "AWS::Lambda::Function"
GROUP = "AWS::EC2::SecurityGroup"
INGRESS = "AWS::EC2::SecurityGroupIngress"
HEALTHIMAGING = {"medical-imaging", "runtime-medical-imaging", "dicom-medical-imaging"}
FOR_IMPORTS = {"cloudformation", "events", "states", "sts"}
ANSWERS = "arn:aws:s3:::cloudformation-custom-resource-response-useast1/*"


@pytest.fixture
def stack(app):
    return Stack(app, "Stack", env=HERE)


@pytest.fixture
def vpc(stack):
    return import_vpc(stack)


def text(value) -> str:
    """A value of a template with what CDK leaves open filled in."""
    if isinstance(value, list):
        return json.dumps([text(item) for item in value])
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(text(item) for item in value["Fn::Join"][1])
    pseudo = {"AWS::Partition": "aws", "AWS::Region": "us-east-1"}
    return pseudo[value["Ref"]] if isinstance(value, dict) else str(value)


def service_of(endpoint: dict) -> str:
    return text(endpoint["Properties"]["ServiceName"]).removeprefix("com.amazonaws.us-east-1.")


def by_service(found) -> dict[str, dict]:
    return {service_of(endpoint): endpoint for endpoint in found.of_type(ENDPOINT)}


def statements(found, service: str) -> list[dict]:
    return by_service(found)[service]["Properties"]["PolicyDocument"]["Statement"]


def reachable(found, service: str) -> list[str]:
    resources = [statement["Resource"] for statement in statements(found, service)]
    return [text(item) for resource in resources for item in (resource if isinstance(resource, list) else [resource])]


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def actions(rules) -> set[str]:
    lists = [rule["Action"] for rule in rules]
    return {action for given in lists for action in (given if isinstance(given, list) else [given])}


def id_of(found, kind: str) -> str:
    (logical_id,) = [name for name, resource in found.resources.items() if resource["Type"] == kind]
    return logical_id


# -- the function ----------------------------------------------------------------------------------------------------


def test_without_a_network_the_function_is_in_no_vpc(stack, synthesize):
    DicomImport(stack, "Import")
    found = synthesize(stack)
    assert "VpcConfig" not in found.only(FUNCTION)["Properties"]
    assert [] == [kind for kind in found.types() if kind.startswith("AWS::EC2")]
    assert "ec2:" not in json.dumps(found.document)


def test_the_function_of_a_network_is_in_its_vpc(stack, vpc, synthesize):
    ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(stack, "Import")
    found = synthesize(stack)
    config = found.only(FUNCTION)["Properties"]["VpcConfig"]
    assert ["subnet-1", "subnet-2"] == config["SubnetIds"]
    assert [{"Fn::GetAtt": [id_of(found, GROUP), "GroupId"]}] == config["SecurityGroupIds"]


def test_all_imports_and_tags_of_the_stack_share_the_function_in_the_vpc(stack, vpc, synthesize):
    ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(stack, "One")
    DicomImport(stack, "Two")
    Tags.of(stack).add("team", "radiology")
    found = synthesize(stack)
    assert "VpcConfig" in found.only(FUNCTION)["Properties"]
    assert 2 == len(found.of_type("Custom::HealthImagingDatastoreTags"))


def test_a_function_that_only_tags_is_in_the_vpc_too(stack, vpc, synthesize):
    Tags.of(Datastore(stack, "Store")).add("team", "radiology")
    ImportNetwork(stack, "Network", vpc=vpc)
    assert "VpcConfig" in synthesize(stack).only(FUNCTION)["Properties"]


def test_the_network_may_lie_anywhere_in_the_stack(stack, vpc, synthesize):
    ImportNetwork(s3.Bucket(stack, "Somewhere"), "Network", vpc=vpc)
    DicomImport(stack, "Import")
    assert "VpcConfig" in synthesize(stack).only(FUNCTION)["Properties"]


def test_the_subnets_and_groups_that_are_given_are_used(stack, vpc, synthesize):
    subnet = ec2.Subnet.from_subnet_id(stack, "Subnet", "subnet-9")
    group = ec2.SecurityGroup.from_security_group_id(stack, "Group", "sg-9")
    network = ImportNetwork(
        stack, "Network", vpc=vpc, vpc_subnets=ec2.SubnetSelection(subnets=[subnet]), security_groups=[group]
    )
    DicomImport(stack, "Import")
    found = synthesize(stack)
    expected = {"SubnetIds": ["subnet-9"], "SecurityGroupIds": ["sg-9"]}
    assert expected == found.only(FUNCTION)["Properties"]["VpcConfig"]
    assert [] == found.of_type(GROUP)
    assert ["sg-9"] == [given.security_group_id for given in network.connections.security_groups]


def test_nothing_reaches_the_function_and_it_leaves_by_https_alone(stack, vpc, synthesize):
    ImportNetwork(stack, "Network", vpc=vpc)
    properties = synthesize(stack).only(GROUP)["Properties"]
    assert "SecurityGroupIngress" not in properties
    (rule,) = properties["SecurityGroupEgress"]
    assert (443, 443, "tcp") == (rule["FromPort"], rule["ToPort"], rule["IpProtocol"])


def test_lambda_may_make_network_interfaces_and_the_functions_code_may_not(stack, vpc, synthesize):
    ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(stack, "Import")
    found = synthesize(stack)
    role = found.resources[found.only(FUNCTION)["Properties"]["Role"]["Fn::GetAtt"][0]]
    (policy,) = [policy for policy in role["Properties"]["Policies"] if policy["PolicyName"] == "Network"]
    rules = policy["PolicyDocument"]["Statement"]
    allowed = actions(rule for rule in rules if rule["Effect"] == "Allow")
    denied = actions(rule for rule in rules if rule["Effect"] == "Deny")
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
    required = {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    }
    assert (required, required) == (allowed, denied)
    (deny,) = [rule for rule in rules if rule["Effect"] == "Deny"]
    assert ("*", {"Null": {"lambda:SourceFunctionArn": "false"}}) == (deny["Resource"], deny["Condition"])
    # Lambda asks for some of them without a resource (github.com/hashicorp/terraform-provider-aws/issues/20698).
    assert ["*", "*"] == [rule["Resource"] for rule in rules]


def test_the_function_comes_after_its_endpoints_and_goes_before_them(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import")
    found = synthesize(stack)
    needed = {name for name, it in found.resources.items() if it["Type"] in {ENDPOINT, GROUP, INGRESS}}
    assert 8 + 2 + 1 == len(needed)
    assert set() == needed - set(found.only(FUNCTION)["DependsOn"])


def test_a_nested_stack_has_a_network_of_its_own(stack, vpc, synthesize):
    ImportNetwork(stack, "Network", vpc=vpc)
    nested = NestedStack(stack, "Nested")
    DicomImport(nested, "Import")
    assert "VpcConfig" not in synthesize(nested).only(FUNCTION)["Properties"]


def test_fails_a_network_after_the_function(stack, vpc):
    DicomImport(stack, "Import")
    with pytest.raises(ValueError, match="ImportNetwork: the stack has its function already: make the network before"):
        ImportNetwork(stack, "Network", vpc=vpc)
    assert stack.node.try_find_child("Network") is None


def test_fails_a_network_for_endpoints_that_name_a_store_which_the_function_empties(stack, vpc):
    store = Datastore(stack, "Store", auto_delete_image_sets=True, removal_policy=RemovalPolicy.DESTROY)
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store])
    with pytest.raises(ValueError, match="before data stores that the function makes or empties"):
        ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)


def test_fails_a_second_network(stack, vpc):
    ImportNetwork(stack, "Network", vpc=vpc)
    with pytest.raises(ValueError, match="the stack has a network already: its imports share one function"):
        ImportNetwork(stack, "Other", vpc=vpc)


def test_fails_no_security_group(stack, vpc):
    with pytest.raises(ValueError, match="security_groups is empty: omit it, and one is made"):
        ImportNetwork(stack, "Network", vpc=vpc, security_groups=[])


PUBLIC = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC)


def public_only(stack: Stack) -> ec2.IVpc:
    subnets = [ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC)]
    return ec2.Vpc(stack, "Public", nat_gateways=0, subnet_configuration=subnets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vpc": public_only}, "vpc_subnets has public subnets, where a function has no public address"),
        ({"vpc": lambda stack: ec2.Vpc(stack, "Made"), "vpc_subnets": PUBLIC}, "vpc_subnets has public subnets, where"),
        (
            {
                "vpc": lambda stack: ec2.Vpc.from_vpc_attributes(
                    stack, "Known", vpc_id="vpc-1", availability_zones=["us-east-1a"], public_subnet_ids=["subnet-1"]
                ),
            },
            "vpc_subnets has public subnets, where",
        ),
        (
            {"vpc": lambda stack: ec2.Vpc.from_vpc_attributes(stack, "Bare", vpc_id="vpc-1", availability_zones=["a"])},
            r"vpc_subnets matches no subnet that the VPC is known to have \(.*\): select others",
        ),
        (
            {"vpc": import_vpc, "vpc_subnets": ec2.SubnetSelection(subnet_group_name="Nowhere")},
            r"vpc_subnets matches no subnet that the VPC is known to have \(.*'Nowhere'.*\): select others",
        ),
        (
            {"vpc": import_vpc, "vpc_subnets": ec2.SubnetSelection(subnets=[])},
            "vpc_subnets matches no subnet: select at least one",
        ),
    ],
)
def test_fails_subnets_that_a_function_cannot_run_in(stack, options, message):
    vpc = options["vpc"](stack)
    with pytest.raises(ValueError, match=f"^ImportNetwork: {message}"):
        ImportNetwork(stack, "Network", vpc=vpc, vpc_subnets=options.get("vpc_subnets"))
    assert stack.node.try_find_child("Network") is None
    DicomImport(stack, "Import")  # outside of any VPC


def test_fails_a_public_subnet_that_is_named(stack):
    vpc = public_only(stack)
    subnets = ec2.SubnetSelection(subnets=[vpc.public_subnets[0]])
    with pytest.raises(ValueError, match="vpc_subnets has public subnets"):
        ImportNetwork(stack, "Network", vpc=vpc, vpc_subnets=subnets)


def test_subnets_may_be_selected_by_a_dictionary(stack, vpc):
    with pytest.raises(ValueError, match="vpc_subnets matches no subnet that the VPC is known to have"):
        ImportNetwork(stack, "Network", vpc=vpc, vpc_subnets={"subnet_group_name": "Nowhere"})
    ImportNetwork(stack, "Network", vpc=vpc, vpc_subnets={"subnets": vpc.isolated_subnets})
    DicomImport(stack, "Import")


@pytest.mark.parametrize("construct", [ImportNetwork, HealthImagingEndpoints])
def test_fails_a_vpc_of_another_region(app, stack, construct):
    vpc = ec2.Vpc(Stack(app, "There", env={**HERE, "region": "us-west-2"}), "Vpc")
    with pytest.raises(ValueError, match="vpc is in Region us-west-2 and the stack in us-east-1: use a VPC of the"):
        construct(stack, "It", vpc=vpc)
    assert [] == stack.node.children


def test_a_vpc_that_another_account_shares_takes_the_function_but_no_endpoints(app, synthesize):
    subnet = {"subnetId": "subnet-1", "availabilityZone": "us-east-1a", "routeTableId": "rtb-1"}
    found_before = {
        "vpcId": "vpc-abc",
        "vpcCidrBlock": "10.0.0.0/16",
        "ownerAccountId": "444455556666",
        "availabilityZones": [],
        "subnetGroups": [{"name": "Private", "type": "Private", "subnets": [subnet]}],
    }
    place = "vpc-provider:account=111122223333:filter.vpc-id=vpc-abc:region=us-east-1:returnAsymmetricSubnets=true"
    app.node.set_context(place, found_before)
    stack = Stack(app, "Shared", env=HERE)
    vpc = ec2.Vpc.from_lookup(stack, "Vpc", vpc_id="vpc-abc")
    assert "444455556666" == vpc.env.account
    with pytest.raises(ValueError, match="endpoints are made by the account that owns the VPC and shares it"):
        HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(stack, "Import")
    assert ["subnet-1"] == synthesize(stack).only(FUNCTION)["Properties"]["VpcConfig"]["SubnetIds"]


def test_a_vpc_yet_to_be_looked_up_is_not_compared_with_one_that_is_known(app, stack, vpc):
    there = Stack(app, "There", env=HERE)
    endpoints = HealthImagingEndpoints(there, "Endpoints", vpc=ec2.Vpc.from_lookup(there, "Vpc", vpc_id="vpc-1"))
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)


def test_stacks_in_a_group_are_warned_of_too(app, stack, vpc):
    data = Stack(Construct(app, "Group"), "Data")
    DicomImport(data, "Import")
    ImportNetwork(stack, "Network", vpc=vpc)
    assert 1 == len(warnings_of(data))


def test_a_vpc_that_is_looked_up_later_passes(stack):
    vpc = ec2.Vpc.from_lookup(stack, "Vpc", vpc_id="vpc-9")
    group = ec2.SubnetSelection(subnet_group_name="ToBeSeen")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, subnets=group)
    ImportNetwork(stack, "Network", vpc=vpc, vpc_subnets=group, endpoints=endpoints)


# -- the endpoints ---------------------------------------------------------------------------------------------------


def test_endpoints_are_made_for_healthimaging_for_imports_and_for_s3(stack, vpc, synthesize):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    found = by_service(synthesize(stack))
    assert HEALTHIMAGING | FOR_IMPORTS | {"s3"} == set(found)
    interfaces = [it["Properties"] for service, it in found.items() if service != "s3"]
    assert {"Interface"} == {it["VpcEndpointType"] for it in interfaces}
    assert {True} == {it["PrivateDnsEnabled"] for it in interfaces}
    assert [["subnet-1", "subnet-2"]] * 7 == [it["SubnetIds"] for it in interfaces]
    assert ("Gateway", ["rtb-1", "rtb-2"]) == (
        found["s3"]["Properties"]["VpcEndpointType"],
        found["s3"]["Properties"]["RouteTableIds"],
    )


def test_every_service_that_the_function_calls_has_an_endpoint(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    endpoints.allow_publish(sns.Topic(stack, "Topic"))
    called = set()
    botocore_session = botocore.session.Session()
    services = set(botocore_session.get_available_services())
    for path in (ROOT / "lambda").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # Whatever has the name of a service as an argument: the makers of clients and of calls.
            arguments = (
                [it.value for it in node.args if isinstance(it, ast.Constant)] if isinstance(node, ast.Call) else []
            )
            for service in services.intersection(it for it in arguments if isinstance(it, str)):
                model = botocore_session.get_service_model(service)
                operations = [model.operation_model(name) for name in model.operation_names]
                prefixes = {(it.endpoint or {}).get("hostPrefix", "") for it in operations}
                # Others put an account or a bucket there.
                called |= {f"{prefix}{model.endpoint_prefix}" for prefix in prefixes if "{" not in prefix}
    assert {"events", "medical-imaging", "s3", "sns", "states", "sts"} <= called
    # The names of hosts that only other operations of a service have.
    assert {"sync-states"} == called - set(by_service(synthesize(stack)))


@pytest.mark.parametrize("service", sorted(HEALTHIMAGING))
def test_only_the_given_stores_and_their_image_sets_pass(stack, vpc, synthesize, service):
    arn = f"arn:aws:medical-imaging:us-east-1:111122223333:datastore/{'0' * 32}"
    store = Datastore.from_datastore_arn(stack, "Store", arn)
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[store])
    assert [arn, f"{arn}/imageset/*"] == reachable(synthesize(stack), service)


@pytest.mark.parametrize("service", sorted(HEALTHIMAGING))
def test_unless_stores_are_given_those_of_the_account_and_region_pass(stack, vpc, synthesize, service):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    found = synthesize(stack)
    assert ["arn:aws:medical-imaging:us-east-1:111122223333:datastore/*", "*"] == reachable(found, service)
    named = statements(found, service)[1]["Action"]
    assert ["medical-imaging:CreateDatastore", "medical-imaging:ListDatastores"] == named


def test_only_the_given_buckets_and_answers_to_cloudformation_pass(stack, vpc, synthesize):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, buckets=[bucket])
    assert [ANSWERS, "arn:aws:s3:::images", "arn:aws:s3:::images/*"] == reachable(synthesize(stack), "s3")


def test_unless_buckets_are_given_those_of_the_account_pass(stack, vpc, synthesize):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    found = synthesize(stack)
    first, answers = statements(found, "s3")
    assert {"StringEquals": {"aws:ResourceAccount": "111122223333"}} == first["Condition"]
    # CloudFormation's bucket is not the account's, and its URL is signed by CloudFormation.
    assert ("s3:PutObject", ANSWERS) == (answers["Action"], text(answers["Resource"]))
    assert "Condition" not in answers


def test_the_bucket_for_answers_has_the_region_without_dashes_also_when_it_is_a_token(app, synthesize):
    stack = Stack(app, "Anywhere")
    HealthImagingEndpoints(stack, "Endpoints", vpc=import_vpc(stack))
    expected = {"Fn::Join": ["", {"Fn::Split": ["-", {"Ref": "AWS::Region"}]}]}
    assert json.dumps(expected) in json.dumps(synthesize(stack).document)


def test_a_local_directorys_asset_can_be_read(stack, vpc, synthesize, tmp_path):
    (tmp_path / "image.dcm").write_bytes(b"DICM")
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, buckets=[bucket])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import", source=ImportSource.directory(tmp_path, bucket=bucket), output_bucket=bucket)
    (added,) = statements(synthesize(stack), "s3")[2:]
    assets = "arn:aws:s3:::cdk-hnb659fds-assets-111122223333-us-east-1/*"
    assert ("s3:GetObject", assets) == (added["Action"], text(added["Resource"]))


def test_buckets_that_an_import_makes_pass(stack, vpc, synthesize):
    named = s3.Bucket.from_bucket_name(stack, "Named", "named")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, buckets=[named])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    import_ = DicomImport(stack, "Import")
    made = [import_.input_bucket, import_.output_bucket]
    found = synthesize(stack)
    Template.from_json(found.document)  # refuses a cycle
    passing = json.dumps(statements(found, "s3"))
    assert [] == [bucket for bucket in made if json.dumps(stack.resolve(bucket.bucket_arn)) not in passing]


def test_a_bucket_can_be_let_through_later(stack, vpc, synthesize):
    named, other = (s3.Bucket.from_bucket_name(stack, name, name) for name in ("named", "other"))
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, buckets=[named]).allow_bucket(other)
    assert "arn:aws:s3:::other" in reachable(synthesize(stack), "s3")


def test_a_bucket_that_is_made_cannot_be_named_by_endpoints_of_an_earlier_stack(app, stack, vpc, synthesize):
    named = s3.Bucket.from_bucket_name(stack, "Named", "named")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, buckets=[named])
    later = Stack(app, "Later", env=HERE)
    ImportNetwork(later, "Network", vpc=vpc, endpoints=endpoints)
    with pytest.raises(ValueError, match="give source and output_bucket and name both there"):
        DicomImport(later, "Import", source=ImportSource.bucket(named))
    DicomImport(later, "Import", source=ImportSource.bucket(named, "a/"), output_bucket=named, output_prefix="b/")
    assert "arn:aws:s3:::named" in reachable(synthesize(stack), "s3")


def test_a_source_bucket_of_another_account_can_be_listed(stack, vpc, synthesize):
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "theirs")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import", source=ImportSource.bucket(bucket, owner_account_id="444455556666"))
    (added,) = statements(synthesize(stack), "s3")[2:]
    assert ("s3:ListBucket", "arn:aws:s3:::theirs") == (added["Action"], text(added["Resource"]))


def test_endpoints_and_network_are_of_one_vpc(stack, vpc):
    other = ec2.Vpc.from_vpc_attributes(
        stack, "Other", vpc_id="vpc-2", vpc_cidr_block="10.1.0.0/16", availability_zones=["us-east-1a"]
    )
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    with pytest.raises(ValueError, match="endpoints are in VPC vpc-1, got vpc vpc-2"):
        ImportNetwork(stack, "Network", vpc=other, endpoints=endpoints)


def test_endpoints_of_a_vpc_that_is_made_serve_a_network_in_it(stack, synthesize):
    made = ec2.Vpc(stack, "Made", nat_gateways=0)
    ImportNetwork(stack, "Network", vpc=made, endpoints=HealthImagingEndpoints(stack, "Endpoints", vpc=made))
    DicomImport(stack, "Import")
    # With the feature flag restrictDefaultSecurityGroup the VPC has a function of its own.
    functions = [it["Properties"] for it in synthesize(stack).of_type(FUNCTION)]
    (function,) = [it for it in functions if it["Handler"].startswith("healthimaging_import")]
    assert "VpcConfig" in function


def test_a_network_needs_the_endpoints_for_imports(stack, vpc):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, for_imports=False)
    with pytest.raises(ValueError, match="for_imports=False, and the function needs them"):
        ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)


def test_a_data_store_that_the_endpoints_do_not_name_is_refused(stack, vpc):
    named, other, by_id = Datastore(stack, "Named"), Datastore(stack, "Other"), "0123456789abcdef0123456789abcdef"
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[named])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    for unreachable in (other, None):
        with pytest.raises(ValueError, match="name it in datastores of HealthImagingEndpoints"):
            DicomImport(stack, "Import", datastore=unreachable)
    DicomImport(stack, "Good", datastore=named)
    # It may be the one that is made here.
    DicomImport(stack, "ById", datastore=Datastore.from_datastore_id(stack, "Imported", by_id))


def test_data_stores_that_are_only_named_are_compared_by_their_ids(stack, vpc):
    first, second = (Datastore.from_datastore_id(stack, name, name * 32) for name in "ab")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[first])
    assert endpoints.reaches(first)
    assert endpoints.reaches(Datastore.from_datastore_id(stack, "Again", "a" * 32))
    assert not endpoints.reaches(second)


def test_of_other_services_only_what_an_import_asks_for_passes(stack, vpc, synthesize):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    found = synthesize(stack)
    actual = {
        service: [(rule["Action"], text(rule["Resource"])) for rule in statements(found, service)]
        for service in FOR_IMPORTS - {"events"}
    }
    assert {
        "cloudformation": [("cloudformation:DescribeStacks", "arn:aws:cloudformation:us-east-1:111122223333:stack/*")],
        "states": [("states:StartExecution", "arn:aws:states:us-east-1:111122223333:stateMachine:*")],
        "sts": [("sts:AssumeRole", "arn:aws:iam::111122223333:role/*")],
    } == actual
    assert "PolicyDocument" not in by_service(found)["events"]["Properties"]


def test_everybody_in_the_vpc_may_connect_by_https(stack, vpc, synthesize):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    found = synthesize(stack)
    (rule,) = found.only(GROUP)["Properties"]["SecurityGroupIngress"]
    assert ("10.0.0.0/16", 443, 443) == (rule["CidrIp"], rule["FromPort"], rule["ToPort"])
    groups = [it["Properties"]["SecurityGroupIds"] for it in found.of_type(ENDPOINT) if service_of(it) != "s3"]
    assert [[{"Fn::GetAtt": [id_of(found, GROUP), "GroupId"]}]] * 7 == groups


def test_with_clients_only_they_and_the_function_may_connect(stack, vpc, synthesize):
    viewer = ec2.SecurityGroup.from_security_group_id(stack, "Viewer", "sg-viewer", mutable=False)
    own = ec2.SecurityGroup.from_security_group_id(stack, "Own", "sg-own", mutable=False)
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, clients=[viewer])
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints, security_groups=[own])
    found = synthesize(stack)
    assert "SecurityGroupIngress" not in found.only(GROUP)["Properties"]
    rules = [rule["Properties"] for rule in found.of_type(INGRESS)]
    assert ["sg-own", "sg-viewer"] == sorted(rule["SourceSecurityGroupId"] for rule in rules)
    assert {(443, 443)} == {(rule["FromPort"], rule["ToPort"]) for rule in rules}


def test_a_client_can_be_let_in_later(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    viewer = ec2.SecurityGroup.from_security_group_id(stack, "Viewer", "sg-viewer", mutable=False)
    endpoints.connections.allow_default_port_from(viewer)
    assert "sg-viewer" == synthesize(stack).only(INGRESS)["Properties"]["SourceSecurityGroupId"]


def test_endpoints_that_exist_are_left_out(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, leave_out=["s3", "sts"])
    assert HEALTHIMAGING | FOR_IMPORTS - {"sts"} == set(by_service(synthesize(stack)))
    assert set(endpoints.interface_endpoints) == HEALTHIMAGING | FOR_IMPORTS - {"sts"}
    with pytest.raises(ValueError, match="there is no s3_endpoint, since leave_out names s3"):
        _ = endpoints.s3_endpoint


def test_where_nothing_is_imported_four_endpoints_do(stack, vpc, synthesize):
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, for_imports=False)
    assert HEALTHIMAGING | {"s3"} == set(by_service(synthesize(stack)))


def test_the_endpoints_may_lie_in_a_stack_before_that_of_the_import(app: App):
    network = Stack(app, "Network", env=HERE)
    data = Stack(app, "Data", env=HERE)
    imports = Stack(app, "Imports", env=HERE)
    vpc = import_vpc(network)
    store = Datastore(data, "Store")
    endpoints = HealthImagingEndpoints(network, "Endpoints", vpc=vpc, datastores=[store])
    ImportNetwork(imports, "ImportNetwork", vpc=vpc, endpoints=endpoints)
    DicomImport(imports, "Import", datastore=store)
    app.synth()
    assert {"Network", "Data"} == {stack.stack_name for stack in imports.dependencies}
    assert ["Data"] == [stack.stack_name for stack in network.dependencies]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"leave_out": ["S3", "kms"]},
            r"leave_out takes medical-imaging, .*, sts, sns, s3, got 'S3' \(did you mean 's3'\?\), 'kms' \(at ",
        ),
        ({"for_imports": False, "leave_out": sorted(HEALTHIMAGING | {"s3"})}, "leave_out names every endpoint"),
        ({"datastores": []}, "datastores is empty, which lets nobody through"),
        ({"buckets": []}, "buckets is empty, which lets nobody through"),
        ({"clients": []}, "clients is empty, which lets nobody through"),
    ],
)
def test_fails_endpoints_that_nobody_can_want(stack, vpc, options, message):
    with pytest.raises(ValueError, match=f"HealthImagingEndpoints: {message}"):
        HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, **options)
    assert stack.node.try_find_child("Endpoints") is None


@pytest.mark.parametrize(
    ("given", "options", "messages"),
    [
        (
            {"vpc_cidr_block": "10.0.0.0/16"},
            {},
            [r"vpc does not tell its route tables, .*: leave_out=\['s3'\] if it has one, or import it with isolated_"],
        ),
        (
            {"isolated_subnet_route_table_ids": ["rtb-1"]},
            {},
            ["vpc does not tell its CIDR, .*: name who may connect in clients, or import it with vpc_cidr_block"],
        ),
        ({}, {}, ["vpc does not tell its CIDR", "vpc does not tell its route tables"]),
        (
            {"vpc_cidr_block": "10.0.0.0/16", "isolated_subnet_route_table_ids": ["rtb-1"]},
            {"subnets": ec2.SubnetSelection(subnet_group_name="Nowhere")},
            ["subnets matches no subnet that the VPC is known to have"],
        ),
    ],
)
def test_fails_a_vpc_that_does_not_tell_what_endpoints_need(stack, given, options, messages):
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["us-east-1a"], isolated_subnet_ids=["subnet-1"], **given
    )
    with pytest.raises(ValueError, match=f"^HealthImagingEndpoints: {'.*; '.join(messages)}"):
        HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, **options)
    assert stack.node.try_find_child("Endpoints") is None


def test_the_ways_out_of_a_vpc_that_tells_little(stack, synthesize):
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["us-east-1a"], isolated_subnet_ids=["subnet-1"]
    )
    viewer = ec2.SecurityGroup.from_security_group_id(stack, "Viewer", "sg-viewer")
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, clients=[viewer], leave_out=["s3"])
    assert HEALTHIMAGING | FOR_IMPORTS == set(by_service(synthesize(stack)))


@pytest.mark.parametrize(
    ("arn", "message"),
    [
        ("us-west-2:111122223333", r"datastores\[1\] is in Region us-west-2 and the stack in us-east-1: make"),
        ("us-east-1:444455556666", r"datastores\[1\] is in account 444455556666 and the stack in 111122223333: make"),
    ],
)
def test_fails_a_data_store_of_another_place(stack, vpc, arn, message):
    far = Datastore.from_datastore_arn(stack, "Far", f"arn:aws:medical-imaging:{arn}:datastore/{'0' * 32}")
    with pytest.raises(ValueError, match=f"HealthImagingEndpoints: {message} endpoints there"):
        HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=[Datastore(stack, "Near"), far])


def test_as_many_data_stores_can_be_named_as_a_policy_takes(stack, vpc, synthesize):
    arn = "arn:aws:medical-imaging:us-east-1:111122223333:datastore/"
    stores = [Datastore.from_datastore_arn(stack, f"Store{n}", f"{arn}{n:032}") for n in range(106)]
    with pytest.raises(ValueError, match=r"datastores are 106, whose names take \d+ characters .*: omit datastores"):
        HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=stores)
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, datastores=stores[:104])
    policy = by_service(synthesize(stack))["medical-imaging"]["Properties"]["PolicyDocument"]
    assert len(json.dumps(policy, separators=(",", ":"))) <= 20_480


def test_fails_a_service_with_two_endpoints_in_a_vpc(app, stack, vpc):
    HealthImagingEndpoints(stack, "First", vpc=vpc, leave_out=["events", "sts"])
    message = "Stack/First makes endpoints for medical-imaging, s3 in the same VPC, .*: name them in leave_out"
    others = ["runtime-medical-imaging", "dicom-medical-imaging"]
    with pytest.raises(ValueError, match=message):
        HealthImagingEndpoints(stack, "Second", vpc=vpc, for_imports=False, leave_out=others)
    again = import_vpc(Stack(Stage(app, "Production"), "Again", env=HERE))
    with pytest.raises(ValueError, match=message):
        HealthImagingEndpoints(Stack.of(again), "Second", vpc=again, for_imports=False, leave_out=others)


def test_endpoints_of_one_vpc_may_lie_in_several_places(app, stack, vpc):
    HealthImagingEndpoints(stack, "First", vpc=vpc, for_imports=False)
    HealthImagingEndpoints(stack, "Second", vpc=vpc, leave_out=[*HEALTHIMAGING, "s3"])
    HealthImagingEndpoints(stack, "Third", vpc=ec2.Vpc(stack, "Made"))
    HealthImagingEndpoints(stack, "Fourth", vpc=ec2.Vpc(stack, "MadeToo"))
    # An id is one Region's.
    there = Stack(app, "There", env={**HERE, "region": "us-west-2"})
    HealthImagingEndpoints(there, "Fifth", vpc=import_vpc(there))


def test_vpcs_that_are_looked_up_later_are_not_taken_for_one(stack):
    for name in ("vpc-8", "vpc-9"):
        HealthImagingEndpoints(stack, f"{name}-endpoints", vpc=ec2.Vpc.from_lookup(stack, name, vpc_id=name))


def test_an_output_bucket_of_another_account_can_be_used(stack, vpc, synthesize):
    theirs = s3.Bucket.from_bucket_attributes(stack, "Theirs", bucket_name="theirs", account="444455556666")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import", output_bucket=theirs, output_prefix="out/")
    added = {
        (statement["Action"], text(resource))
        for statement in statements(synthesize(stack), "s3")
        # With the feature flag minimizePolicies the list is one of statements that were merged.
        for resource in as_list(statement["Resource"])
    }
    assert {
        ("s3:ListBucket", "arn:aws:s3:::theirs"),
        ("s3:GetObject", "arn:aws:s3:::theirs/out/*"),
        ("s3:PutObject", f"arn:aws:s3:::theirs/out/{contract.RECORDS_FOLDER}*"),
    } == {(action, resource) for action, resource in added if "theirs" in resource}


def test_an_output_bucket_of_the_own_account_changes_nothing(stack, vpc, synthesize):
    ours = s3.Bucket.from_bucket_name(stack, "Ours", "ours")
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    DicomImport(stack, "Import", output_bucket=ours)
    assert 2 == len(statements(synthesize(stack), "s3"))


@pytest.mark.parametrize("what", ["source", "output_bucket"])
def test_a_bucket_of_another_region_is_warned_of(stack, vpc, what):
    far = s3.Bucket.from_bucket_attributes(stack, "Far", bucket_name="far", region="eu-west-1")
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=HealthImagingEndpoints(stack, "Endpoints", vpc=vpc))
    given = {"source": ImportSource.bucket(far)} if what == "source" else {"output_bucket": far}
    import_ = DicomImport(stack, "Import", **given)
    (warning,) = [entry.data for entry in import_.node.metadata if entry.type == "aws:cdk:warning"]
    assert f"{what} is in Region eu-west-1, and the endpoint of Amazon S3 leads to us-east-1" in warning


# -- networks that nothing uses --------------------------------------------------------------------------------------


def unused(network: ImportNetwork) -> list:
    return [entry.data for entry in network.node.metadata if "networkWithoutFunction" in str(entry.data)]


@pytest.mark.parametrize(
    "elsewhere", [lambda stack: Stack(stack.node.scope, "Work"), lambda s: NestedStack(s, "Nested")]
)
def test_a_network_without_a_function_in_its_stack_is_warned_of_once(app, stack, vpc, elsewhere):
    network = ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(elsewhere(stack), "Import")
    app.synth()
    app.synth(force=True)
    (warning,) = unused(network)
    assert "as Stack has none: put the ImportNetwork into the stack of the imports" in warning


@pytest.mark.parametrize("revisits", [False, True])
def test_a_function_that_an_aspect_makes_at_last_uses_its_network(revisits):
    app = App(analytics_reporting=False, context={"@aws-cdk/core:aspectStabilization": revisits})
    stack = Stack(Stage(app, "Production"), "Stack", env=HERE)
    network = ImportNetwork(stack, "Network", vpc=import_vpc(stack))
    Datastore(stack, "Store")
    Tags.of(app).add("team", "radiology")
    Tags.of(stack).add("team", "radiology")
    app.synth()
    assert [] == unused(network)


def test_the_warning_can_be_acknowledged(app, stack, vpc):
    network = ImportNetwork(stack, "Network", vpc=vpc)
    Annotations.of(network).acknowledge_warning("healthimaging-cdk:networkWithoutFunction")
    app.synth()
    assert [] == unused(network)


# -- functions of other stacks ---------------------------------------------------------------------------------------


def warnings_of(stack: Stack) -> list:
    return [entry.data for entry in stack.node.metadata if "outside of any VPC" in str(entry.data)]


def test_a_function_of_another_stack_outside_of_the_vpc_is_warned_of(app, stack, vpc):
    ImportNetwork(stack, "Network", vpc=vpc)
    data = Stack(app, "Data")
    Tags.of(Datastore(data, "Store")).add("team", "radiology")
    app.synth()
    (warning,) = warnings_of(data)
    assert "that of Stack in one: make an ImportNetwork here too" in warning
    assert [] == warnings_of(stack)


def test_the_order_of_the_stacks_does_not_matter(app, stack, vpc):
    data = Stack(Stage(app, "Production"), "Data")
    DicomImport(data, "Import")
    ImportNetwork(stack, "Network", vpc=vpc)
    assert 1 == len(warnings_of(data))


def test_a_function_of_a_nested_stack_is_warned_of(stack, vpc):
    ImportNetwork(stack, "Network", vpc=vpc)
    nested = NestedStack(stack, "Nested")
    DicomImport(nested, "Import")
    assert 1 == len(warnings_of(nested))


def test_stacks_without_a_function_and_apps_without_a_network_are_left_alone(app, stack, vpc):
    data = Stack(app, "Data")
    Datastore(data, "Store")
    ImportNetwork(stack, "Network", vpc=vpc)
    DicomImport(stack, "Import")
    alone = Stack(App(analytics_reporting=False), "Alone")
    DicomImport(alone, "Import")
    app.synth()
    assert [] == [*warnings_of(data), *warnings_of(stack), *warnings_of(alone)]


# -- notifications ---------------------------------------------------------------------------------------------------

TOPICS = "arn:aws:sns:us-east-1:111122223333:*"


def import_with(stack: Stack, **options) -> None:
    bucket = s3.Bucket.from_bucket_name(stack, "Bucket", "images")
    store = Datastore.from_datastore_id(stack, "Store", "0" * 32)
    source = ImportSource.bucket(bucket, "dicom/")
    DicomImport(stack, "Import", datastore=store, source=source, output_bucket=bucket, **options)


def test_an_import_with_notifications_has_an_endpoint_that_lets_them_pass_and_no_other_has(app, stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    for name in ("Silent", "Loud"):
        imports = Stack(app, name, env=HERE)
        ImportNetwork(imports, "Network", vpc=vpc, endpoints=endpoints)
        import_with(imports, notify=Notify.FAILURES if name == "Loud" else None)
        assert ("sns" in endpoints.interface_endpoints) == (name == "Loud")
    found = synthesize(stack)
    (statement,) = statements(found, "sns")
    assert ("Allow", "sns:Publish", TOPICS) == (statement["Effect"], statement["Action"], text(statement["Resource"]))


def test_a_topic_of_another_account_can_be_published_to(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    theirs = "arn:aws:sns:us-east-1:444455556666:on-call"
    import_with(stack, notification_topic=sns.Topic.from_topic_arn(stack, "Theirs", theirs))
    assert [TOPICS, theirs] == reachable(synthesize(stack), "sns")


def test_the_function_is_made_after_the_endpoint_for_notifications(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc)
    ImportNetwork(stack, "Network", vpc=vpc, endpoints=endpoints)
    import_with(stack, notify=Notify.FAILURES)
    found = synthesize(stack)
    endpoint = stack.get_logical_id(endpoints.interface_endpoints["sns"].node.default_child)
    assert endpoint in found.only("AWS::Lambda::Function")["DependsOn"]


def test_an_endpoint_for_notifications_that_exists_is_left_out(stack, vpc, synthesize):
    endpoints = HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, leave_out=["sns"])
    endpoints.allow_publish(sns.Topic(stack, "Topic"))
    assert "sns" not in by_service(synthesize(stack))


def test_endpoints_of_one_vpc_have_one_endpoint_for_notifications(stack, vpc):
    first = HealthImagingEndpoints(stack, "First", vpc=vpc, leave_out=["sts"])
    others = sorted(HEALTHIMAGING | FOR_IMPORTS - {"sts"} | {"s3"})
    second = HealthImagingEndpoints(stack, "Second", vpc=vpc, leave_out=others)
    topic = sns.Topic(stack, "Topic")
    for endpoints in (second, first, second):
        endpoints.allow_publish(topic)
    assert ["sns"] == sorted(set(second.interface_endpoints) & {"sns"})
    assert "sns" not in first.interface_endpoints


def test_subnets_are_ones_own_choice(stack, synthesize):
    vpc = ec2.Vpc(stack, "Made", availability_zones=["us-east-1a", "us-east-1b", "us-east-1c"])
    two = ec2.SubnetSelection(availability_zones=["us-east-1a", "us-east-1c"])
    HealthImagingEndpoints(stack, "Endpoints", vpc=vpc, subnets=two)
    found = [it["Properties"].get("SubnetIds", []) for it in synthesize(stack).of_type(ENDPOINT)]
    assert {0, 2} == {len(subnets) for subnets in found}  # none for the gateway


def test_zones_without_an_endpoint_are_left_out_where_they_are_looked_up(synthesize):
    services = [*HEALTHIMAGING, "cloudformation", "events", "states", "sts"]
    key = (
        "endpoint-service-availability-zones:account=111122223333:region=us-east-1:serviceName=com.amazonaws.us-east-1"
    )
    app = App(context={f"{key}.{service}": ["us-east-1b"] for service in services})
    there = Stack(app, "There", env=HERE)
    vpc = ec2.Vpc(there, "Made", availability_zones=["us-east-1a", "us-east-1b"])
    HealthImagingEndpoints(there, "Endpoints", vpc=vpc, lookup_supported_azs=True)
    found = [it["Properties"].get("SubnetIds") for it in synthesize(there).of_type(ENDPOINT)]
    assert [1] * 7 == [len(subnets) for subnets in found if subnets]


def test_fails_a_lookup_where_the_environment_is_not_known(app):
    somewhere = Stack(app, "Somewhere")
    vpc = ec2.Vpc(somewhere, "Vpc")
    with pytest.raises(ValueError, match="lookup_supported_azs needs a stack with account and Region"):
        HealthImagingEndpoints(somewhere, "Endpoints", vpc=vpc, lookup_supported_azs=True)
