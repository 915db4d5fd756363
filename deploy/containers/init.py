"""What must be there before the stack works: databases, tables, pools, the first user.

Run at every start; what is there already stays as it is.
"""

import os
import subprocess
from pathlib import Path

import psycopg2
from airflow.cli.cli_parser import get_parser
from airflow.models import Pool
from airflow.utils.session import create_session

DATABASES = ("airflow", "mlflow", "mlflow_auth")
POOL = "biometric_heavy"


def _secret(name: str) -> str:
    return Path("/run/secrets", name).read_text().strip()


def make_databases() -> None:
    """Make the databases of Airflow and MLflow that are missing."""
    server = psycopg2.connect(
        host=os.environ.get("POSTGRES_HOST", "postgres"),
        port=os.environ.get("POSTGRES_PORT", "5432"),
        user=os.environ.get("POSTGRES_USER", "biometric"),
        password=_secret("postgres_password"),
        dbname="postgres",
    )
    server.autocommit = True
    with server.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        there = {name for (name,) in cursor.fetchall()}
        for name in DATABASES:
            if name not in there:
                cursor.execute(f"CREATE DATABASE {name}")
    server.close()


def make_pool() -> None:
    """Make the pool of heavy tasks; one that somebody has resized stays."""
    slots = os.environ.get("HEAVY_SLOTS", "1")
    with create_session() as session:
        there = session.query(Pool).filter(Pool.pool == POOL).count()
    if not there:
        _airflow("pools", "set", POOL, slots, "Stages that fill a machine")


def make_admin() -> None:
    """Make the user `admin`; one that is there keeps the password it has."""
    name = ("--username", "admin", "--firstname", "Admin", "--lastname", "Admin")
    password = ("--email", "admin@localhost", "--password", _secret("admin_password"))
    _airflow("users", "create", "--role", "Admin", *name, *password)


def _airflow(*arguments: str) -> None:
    """Airflow's command line in this process: a password among other processes' arguments shows."""
    given = get_parser().parse_args(arguments)
    given.func(given)


if __name__ == "__main__":
    make_databases()
    subprocess.run(["airflow", "db", "migrate"], check=True)
    make_pool()
    make_admin()
    print("the stack's databases, pool and first user are there")
