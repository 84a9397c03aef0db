"""Leak auditor."""
