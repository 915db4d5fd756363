"""Measurements that back what the documentation claims; each writes `var/bench/NAME.json`."""
