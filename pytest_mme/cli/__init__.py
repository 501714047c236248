"""The command line: `pytest-mme …`."""

from __future__ import annotations

import typer

from pytest_mme.cli.conformance import judge_server
from pytest_mme.cli.doctor import examine_archives
from pytest_mme.cli.fit import fit_archives
from pytest_mme.cli.image import image_app
from pytest_mme.cli.optimise import optimise_archive
from pytest_mme.cli.replay import bundle_failure, replay_bundle
from pytest_mme.cli.serve import serve_models
from pytest_mme.cli.sweep import sweep_left
from pytest_mme.cli.tensorflow import tensorflow_app

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
app.command("serve")(serve_models)
app.command("conformance")(judge_server)
app.command("doctor")(examine_archives)
app.command("fit")(fit_archives)
app.command("optimise")(optimise_archive)
app.command("bundle")(bundle_failure)
app.command("replay")(replay_bundle)
app.command("sweep")(sweep_left)
app.add_typer(image_app, name="image")
app.add_typer(tensorflow_app, name="tensorflow")


@app.callback()
def main() -> None:
    """Test SageMaker multi-model endpoints of TensorFlow SavedModels, on your machine, in seconds."""
