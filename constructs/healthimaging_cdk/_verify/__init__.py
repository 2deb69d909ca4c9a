"""Experiments for an AWS account: they settle what nobody could find out without one.

``healthimaging-cdk verify-aws`` runs them. An ``Experiment`` asks questions, says what this library assumes, and looks.
All that it creates is in CloudFormation stacks of one name, which the ``Lab`` removes again.
"""
