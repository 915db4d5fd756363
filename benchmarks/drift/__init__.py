"""Drift: false alarms, detection, and what the gate then decides."""
