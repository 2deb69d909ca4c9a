"""Data stores.

The L2 with its grants, events, metrics and tags, what CloudFormation lacks, and image set deletion.
"""
