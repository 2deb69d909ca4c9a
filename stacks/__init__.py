"""The stacks of the ready-made app."""
