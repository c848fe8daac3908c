"""Draws records: terminal tables and pages. Reads nothing but records."""
