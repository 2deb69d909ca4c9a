"""What serves the library's custom resources.

One function and one state machine per stack, the resources they serve with a role for each, policies that are replaced
and not changed, where the function runs, and the key of its log.
"""
