"""`make ui` and `make stop`: all pages, left running.

`python -m deploy.local.ui up` leaves them running, `stop` ends exactly those.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from biometric_core.errors import BiometricError
from biometric_core.reporting.terminals import write_anywhere
from deploy.local.airflow_api import AirflowApiError
from deploy.local.display import Display
from deploy.local.places import USER, Layout, shown
from deploy.local.stack import Stack, StackError, stop


def up(layout: Layout, display: Display) -> tuple[Stack, str]:
    """Airflow, Ray and all pages, left running; the running ones when they are up already.

    Returns:
        The stack; and why Ray doesn't run, empty where it does.
    """
    without_ray = ""
    stack = Stack.running(layout)
    if stack is None:
        stop(layout)  # before ports are chosen, so that it gets those again that people know
        stack = Stack(layout, "ui")
        stack.say = partial(display.start, "start")
        try:
            stack.begin()
            stack.spawn("registry", ["python", "-m", "deploy.story.seed", "registry"])
            stack.finish()
            stack.wait("registry")
            stack.spawn("mlflow", _mlflow_command(stack))
            stack.spawn("reports", _reports_command(stack))
            stack.wait_for_pages()
            try:
                stack.wait_for_ray()
            except StackError as error:
                stack.check()  # of all other parts
                without_ray = str(error)
        except BaseException:
            stack.close()
            raise
    return stack, without_ray


def _mlflow_command(stack: Stack) -> list[str]:
    return [
        *("python", "-m", "mlflow", "server", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(stack.ports.mlflow)),
        *("--backend-store-uri", stack.env["BIOMETRIC__MLFLOW__TRACKING_URI"]),
        *("--default-artifact-root", stack.env["BIOMETRIC__MLFLOW__ARTIFACT_ROOT"]),
    ]


def _reports_command(stack: Stack) -> list[str]:
    return ["python", "-m", "deploy.local.report_pages", "--port", str(stack.ports.reports)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `up` or `stop`."""
    parser = argparse.ArgumentParser(prog="deploy.local.ui", description=__doc__)
    parser.add_argument("what", choices=("up", "stop"))
    write_anywhere()
    layout = Layout.default()
    if parser.parse_args(arguments).what == "stop":
        print(f"ended {stop(layout)} processes of {shown(layout.var)}")
        return 0
    try:
        with Display({"start": "Airflow, Ray, MLflow and the reports"}) as display:
            stack, without_ray = up(layout, display)
            display.done("start")
    except (BiometricError, StackError, AirflowApiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"Airflow  {stack.url}   user {USER}, password {stack.password}")
    print(f"MLflow   {stack.address('mlflow')}")
    print(f"Reports  {stack.address('reports')}")
    print("make stop ends all three")
    if without_ray:
        print(
            f"warning: {without_ray}\n"
            "Without Ray the pages work and long tasks fail; `make ui` starts all of it again",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
