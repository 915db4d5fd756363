"""Runs and the model registry. The only package that imports mlflow; callers never need to."""
