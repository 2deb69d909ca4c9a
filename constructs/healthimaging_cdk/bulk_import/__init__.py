"""A bulk import: an archive that outgrows one import job, planned into jobs and run on Step Functions.

The construct, its options, and the definition of its state machine.
"""
