"""What runs in AWS: the import logic, and the function that CloudFormation and Step Functions call.

``lambda/`` is the root of the Lambda asset. It imports the standard library and boto3, never aws-cdk-lib.
"""
