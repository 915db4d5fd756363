"""Iris and fingerprint recognition that is trained, watched and replaced in production.

The package knows nothing of Airflow: every stage is one function with a typed configuration and a
typed result, called alike by the command line (`biometric STAGE`) and by the DAGs in `dags/`.
"""

__version__ = "0.1.0"
