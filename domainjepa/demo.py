"""The whole journey in one command: simulate a survey, pretrain an encoder, show the evidence."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.console import Console

from domainjepa import devices, settings
from domainjepa.catalog import find
from domainjepa.config import PretrainConfig
from domainjepa.data.opening import open_source
from domainjepa.data.simulated.survey import simulate_survey
from domainjepa.encoder.frozen import FrozenEncoder
from domainjepa.evaluation.encoders.baselines import baselines
from domainjepa.evaluation.protocol import read_protocol
from domainjepa.evaluation.reporting import terminal
from domainjepa.evaluation.suite import evaluate
from domainjepa.pretraining.budget import Fitted, fit
from domainjepa.pretraining.run import pretrain
from domainjepa.waiting import clock_time, stage

SHOTS = (1, 5, 10, "all")
DRAWS = 10
"""Of the labels: twenty would take a minute longer."""
BUDGET = {"bfloat16": "170s", "float32": "270s"}
"""Of pretraining, by the precision that the processor computes in: the whole demo then takes 4 and
6 minutes of two cores."""
ENOUGH = 1000
"""Steps of the recipe: a faster machine is done sooner."""
COMPARING = 10.0
"""Times the seconds of simulating the survey, which is mostly one core's work, too."""


def run_demo(
    out: Path,
    *,
    steps: int | None = None,
    samples: int = 6000,
    console: Console | None = None,
) -> None:
    """Simulate, pretrain, compare with the untrained twin and with raw pixels, draw.

    Args:
        out: folder for the survey, the run and the report; an interrupted demo goes on.
        steps: of pretraining; by default as many as fit into `BUDGET`, and no more than `ENOUGH`.
        samples: galaxies of the survey.
        console: where to print.

    Raises:
        UserError: the folder cannot be written.
        Stopped: a signal asked for an end; the run is saved.
    """
    console = console or Console()
    out.mkdir(parents=True, exist_ok=True)
    survey, run, evidence = out / "simulated-survey.h5", out / "pretrained", out / "report"
    begun = time.monotonic()
    if not survey.exists():
        console.print(f"[bold]1/3 simulate[/bold] a survey of {samples:,} galaxies of 8 classes")
        with console.status("simulating galaxies"):
            simulate_survey(survey, samples=samples)
    simulated = time.monotonic() - begun
    console.print("[bold]2/3 pretrain[/bold] without a single label")
    config, resume = demo_config(survey, steps), (run / "config.toml").exists()
    if not resume:
        if steps is None:
            stage(console, "measuring what a step costs here")
        fitted = fit(config, time.monotonic(), most=ENOUGH)
        config = fitted.config
        console.print(time_told(fitted, begun, simulated), highlight=False)
    pretrain(config, run, resume=resume, console=console)
    console.print("[bold]3/3 compare[/bold] what a linear probe reads out of frozen features")
    source = open_source(survey)
    encoder = FrozenEncoder(run)
    protocol = read_protocol("few-shot").model_copy(update={"shots": SHOTS, "draws": DRAWS})
    results = evaluate(
        [encoder, *baselines(["untrained", "pixels"], [encoder])],
        source,
        [protocol],
        evidence,
        console=console,
    )
    terminal.show(results, console)
    console.print(f"report with pictures: {evidence}/report.html", highlight=False)
    console.print(f"the encoder: {run}/encoder.safetensors", highlight=False)


def time_told(fitted: Fitted, begun: float, simulated: float) -> str:
    """How long the demo will take on this machine, as far as steps were measured.

    Args:
        fitted: the run.
        begun: when the demo began, on `time.monotonic`.
        simulated: seconds that simulating took.
    """
    if not fitted.seconds or fitted.config.steps is None:
        return f"{fitted.config.steps} steps, as you said"
    seconds = time.monotonic() - begun + fitted.config.steps * fitted.seconds
    then = "then comparing, which comes on top"
    if simulated > 1:  # the survey was not there before
        seconds += COMPARING * simulated
        then = f"then about {clock_time(COMPARING * simulated)} of comparing"
    return (
        f"this demo takes about {seconds / 60:.1f} minutes here: {fitted.config.steps} steps of "
        f"{fitted.seconds:.2g} s, {then}"
    )


def demo_config(survey: Path, steps: int | None = None) -> PretrainConfig:
    """The recipe `demo` for some steps or a budget; in float32 where the processor has no
    bfloat16."""
    fast = devices.computes_bfloat16(torch.device("cpu"))
    flags = {
        "data.path": str(survey),
        "steps": steps,
        "budget": None if steps else BUDGET["bfloat16" if fast else "float32"],
        "precision": None if fast else "float32",
    }
    return settings.resolve(settings.read_recipe(find("recipes", "demo")), (), flags)
