"""Iris and fingerprint recognition that is trained, watched and replaced in production.

The package knows nothing of Airflow: every stage is one function with a typed configuration and a
typed result, called alike by the command line (`biometric STAGE`) and by the DAGs in `dags/`.
"""

import os

# OpenMP reads it when torch is loaded. Else its threads wait for each other in a busy loop: beside
# one other busy process a small network on two cores trains eight times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
