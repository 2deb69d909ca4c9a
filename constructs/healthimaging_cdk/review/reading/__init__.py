"""Templates as they are, whatever wrote them: values, policies, data stores and imports.

What cannot be read is unknown. Nothing here judges.
"""
