"""The custom resources: what each does for a request."""
