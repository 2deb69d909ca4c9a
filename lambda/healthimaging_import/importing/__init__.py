"""The import logic: from the source to the verdict. Knows HealthImaging and S3, and nothing of CloudFormation."""
