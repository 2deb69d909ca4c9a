"""A bulk import: a source that outgrows one job, planned into jobs, run at the account's pace, and accounted for."""
