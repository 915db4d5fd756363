"""The whole system on one machine, under one folder: Airflow, Ray, MLflow and the reports."""
