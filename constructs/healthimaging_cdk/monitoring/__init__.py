"""What watches imports.

Alarms, and a dashboard.
"""
