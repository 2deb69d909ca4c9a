"""DICOM imports that run on deploy.

The construct, its options and source, storage and its records, permissions, the role that HealthImaging assumes,
results, events, metrics and notifications.
"""
