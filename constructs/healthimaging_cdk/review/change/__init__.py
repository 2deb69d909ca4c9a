"""The facts of a change: what becomes of data, what is imported again, new rights, what is created."""
