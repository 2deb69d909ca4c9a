"""AWS calls: clients with the rights of one request, and what each failure means."""
