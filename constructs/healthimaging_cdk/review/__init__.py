"""What a template does to HealthImaging: the reader of templates, the rules, and the facts of a change.

Nothing here needs aws-cdk-lib but ``plugin``, which runs the rules at synth. Templates are input from strangers: what
cannot be read is unknown, and what is unknown is no finding.
"""
