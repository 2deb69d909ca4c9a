"""What every wing uses.

Checks of arguments, KMS keys, the rights that each IAM action needs, metrics, event rules, and the contract with the
function that runs in AWS.
"""
