"""The command line: `biometric STAGE`. Each command calls the function its Airflow task calls."""

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from biometric_core import __version__
from biometric_core.cli.invocation import (
    AsOfOption,
    JsonOption,
    SourceOption,
    State,
    home,
    run_stage,
    time_of,
)
from biometric_core.cli.operations import operations
from biometric_core.cli.terminal import hint, show_crossval
from biometric_core.reporting.terminals import write_anywhere

if TYPE_CHECKING:
    from biometric_core.config import Config

# Heavy packages are imported inside commands: `biometric --help` answers at once.
app = typer.Typer(
    name="biometric",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(operations)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"biometric {__version__}")
        raise typer.Exit


@app.callback()
def main(
    profile: Annotated[
        str | None, typer.Option(help="A file of config/ (write it before the command).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One value, e.g. training.epochs=20; write it before the command.",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Iris and fingerprint recognition, kept good in production.

    A first model by hand:  generate → ingest → preprocess → check → train → evaluate → promote.
    A day with new captures:  ingest --kind inbox → preprocess → score → monitor.
    Airflow calls the same stages; `make run` shows the whole loop.
    """
    del version
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    State.profile = profile
    State.settings = settings or ()


@app.command()
def download(
    dataset: Annotated[str | None, typer.Option(help="OWNER/NAME on Kaggle.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Download again what is there.")] = False,
    out: JsonOption = None,
) -> None:
    """Fetch the data set from Kaggle (needs an account: KAGGLE_USERNAME and KAGGLE_KEY)."""
    from biometric_core.sources import kaggle

    run_stage(lambda config: kaggle.download(config, dataset=dataset, force=force), out)


@app.command()
def generate(
    to: Annotated[
        str, typer.Option("--to", parser=home, metavar="FOLDER", help="Folder to write.")
    ] = "var/source/generated",
    subjects: Annotated[int | None, typer.Option(min=1, help="How many people.")] = None,
    impressions: Annotated[
        int | None, typer.Option(min=1, help="Captures of each eye and finger.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same images.")] = None,
    out: JsonOption = None,
) -> None:
    """Draw irises and fingerprints of people who don't exist; no account needed."""
    from biometric_core.sources.generator import people

    run_stage(
        lambda config: people.generate(
            config, out=to, subjects=subjects, impressions=impressions, seed=seed
        ),
        out,
    )


@app.command()
def ingest(
    source: SourceOption,
    captured_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When they were taken: 2026-01-31, 2026-01-31T14:30 (UTC) or "
            "2026-01-31T14:30+02:00; now by default.",
        ),
    ] = None,
    sensor: Annotated[
        str | None, typer.Option(help="What took those that lie in no folder sensor=NAME.")
    ] = None,
    kind: Annotated[
        Literal["folder", "inbox"],
        typer.Option(
            help="inbox: captures of a day that came through the doors, watched by `monitor`, as "
            "what lies in storage.inbox; folder: for training only."
        ),
    ] = "folder",
    out: JsonOption = None,
) -> None:
    """Check captures and take them in; bad files go to quarantine with their reason."""
    from biometric_core.stages.ingest import ingest as stage

    run_stage(
        lambda config: stage(
            config,
            source=source,
            captured_at=time_of(captured_at, "--captured-at"),
            sensor=sensor,
            kind=kind,
        ),
        out,
    )


@app.command()
def preprocess(
    executor: Annotated[
        str | None, typer.Option(help="auto, sequential, multiprocessing or ray.")
    ] = None,
    out: JsonOption = None,
) -> None:
    """Locate and normalise irises and fingerprints of all captures not yet prepared."""
    from biometric_core.stages.preprocess import preprocess as stage

    result = run_stage(lambda config: stage(config, executor=executor), out)
    nothing = not any(result[name] for name in ("prepared", "failed", "known"))
    hint(nothing, "there are no captures yet: take some in with `biometric ingest`")


@app.command()
def check(out: JsonOption = None) -> None:
    """Report on what was taken in and prepared, and ask whether it is fit to train on."""
    from biometric_core.stages.check import check as stage

    run_stage(stage, out)


@app.command()
def train(
    as_of: AsOfOption = None,
    like: Annotated[
        str | None, typer.Option(metavar="RUN", help="On exactly the data of that MLflow run.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Train even if these data were trained on before.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Don't go on from a checkpoint.")] = False,
    out: JsonOption = None,
) -> None:
    """Fit the recogniser on the training subjects; the run goes to MLflow."""
    from biometric_core.stages.train import train as stage

    if like and as_of:
        raise typer.BadParameter("give --like or --as-of: a run names its own time")
    run_stage(
        lambda config: stage(
            config, as_of=time_of(as_of, "--as-of"), like=like, force=force, resume=not fresh
        ),
        out,
    )


@app.command()
def evaluate(
    run_id: Annotated[str, typer.Option(help="The MLflow run of `train`.")],
    as_of: AsOfOption = None,
    out: JsonOption = None,
) -> None:
    """Measure a model on subjects it has never seen: EER, FNMR, rank-1, plots, release check."""
    from biometric_core.stages.evaluate import evaluate as stage

    run_stage(lambda config: stage(config, run_id=run_id, as_of=time_of(as_of, "--as-of")), out)


@app.command()
def promote(
    version: Annotated[
        str | None, typer.Option(help="A version in the registry; the challenger by default.")
    ] = None,
    run_id: Annotated[str | None, typer.Option(help="Register this run first.")] = None,
    as_of: AsOfOption = None,
    out: JsonOption = None,
) -> None:
    """Let a challenger replace the champion, if it is provably better."""
    from biometric_core.stages.promote import promote as stage
    from biometric_core.stages.register import register

    def _stage(config: "Config") -> Any:
        chosen = register(config, run_id=run_id).version if run_id else version
        return stage(config, version=chosen, as_of=time_of(as_of, "--as-of"))

    run_stage(_stage, out)


@app.command()
def predict(
    source: SourceOption,
    to: Annotated[
        str,
        typer.Option("--to", parser=home, metavar="FILE", help="Result: .parquet, .csv or .delta."),
    ],
    model: Annotated[str, typer.Option(help="An alias or version in the registry.")] = "champion",
    embeddings: Annotated[bool, typer.Option("--embeddings", help="Add the embeddings.")] = False,
    out: JsonOption = None,
) -> None:
    """Recognise every capture of a folder or zip; one row each, failures with their reason."""
    from biometric_core.stages.predict import predict as stage

    run_stage(
        lambda config: stage(config, source=source, out=to, model=model, embeddings=embeddings), out
    )


@app.command()
def pretrain(
    out: Annotated[str, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write it.")],
    json_out: JsonOption = None,
) -> None:
    """Make the branches that training starts from anew, out of generated people.

    Those that ship with the package were made so; `pretraining` in the configuration says how many
    people and epochs. Measure the result with `biometric crossval --recogniser FOLDER`.
    """
    from biometric_core.stages.pretrain import pretrain as stage

    run_stage(lambda config: stage(config, out=out), json_out)


_SourcesOption = Annotated[
    list[str],
    typer.Option(
        "--source", "-s", metavar="PATH", parser=home, help="A folder or .zip; several times."
    ),
]
_ChimericOption = Annotated[
    bool, typer.Option("--chimeric", help="Pair irises and fingers of different sources.")
]
_PaintOutOption = Annotated[
    Literal["iris", "visible_iris"] | None,
    typer.Option(help="Check: paint over each eye's iris, or what lids leave of it."),
]


@app.command()
def crossval(
    source: _SourcesOption,
    folds: Annotated[int, typer.Option(min=2, help="Folds, by subject of each source.")] = 3,
    chimeric: _ChimericOption = False,
    paint_out: _PaintOutOption = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Train nothing: test what ships on everybody.")
    ] = False,
    recogniser: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Train nothing: test this saved one.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write a performance card with pictures.")
    ] = None,
    out: JsonOption = None,
) -> None:
    """Honest figures of the recogniser on data sets: folds by subject, all pairs.

    Layouts: Kaggle, flat, FVC. Rates are in per cent, with intervals over subjects. Example:

    biometric crossval -s irises.zip -s fvc2002-db1b.zip --chimeric --json figures.json
    """
    from biometric_core.stages.crossval import crossval as stage

    if pretrained and recogniser:
        raise typer.BadParameter("give --pretrained or --recogniser FOLDER, not both")
    run_stage(
        lambda config: stage(
            config,
            sources=source,
            folds=folds,
            chimeric=chimeric,
            paint_out=paint_out,
            pretrained=pretrained,
            recogniser=recogniser,
            report=report,
        ),
        out,
        show_crossval,
    )


def run() -> NoReturn:
    """Run the command line and end the process (the `biometric` script)."""
    write_anywhere()
    code: int | str | None = 0
    try:
        app(prog_name="biometric")
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of native libraries that still run abort an ordinary exit now and then (seen: status
    # 134 after a clear error). All work is done and committed here.
    os._exit(code if isinstance(code, int) else int(code is not None))
