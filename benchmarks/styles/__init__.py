"""Ways to have a stack import DICOM files on deploy: this library's, and two that are written by hand.

Each module has ``add_imports(stack, count)``. The first import brings key, data store, buckets and roles. Each further
one shares all of these but the roles, and imports another prefix of the same bucket.
"""
