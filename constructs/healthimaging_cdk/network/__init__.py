"""Imports in a VPC.

The endpoints of HealthImaging, the network that the function of a stack runs in, and the checks of a VPC.
"""
