"""CloudFormation's side of a custom resource: its requests in, our responses out. Standard library only."""
