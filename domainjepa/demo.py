"""The whole journey in one command: simulate a survey, pretrain an encoder, show the evidence."""

from __future__ import annotations

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
from domainjepa.pretraining.run import pretrain

SHOTS = (1, 5, 10, "all")


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
        steps: fewer than the recipe's make a quicker, weaker demo.
        samples: galaxies of the survey.
        console: where to print.

    Raises:
        UserError: the folder cannot be written.
        Stopped: a signal asked for an end; the run is saved.
    """
    console = console or Console()
    out.mkdir(parents=True, exist_ok=True)
    survey, run, evidence = out / "simulated-survey.h5", out / "pretrained", out / "report"
    if not survey.exists():
        console.print(f"[bold]1/3 simulate[/bold] a survey of {samples:,} galaxies of 8 classes")
        with console.status("simulating galaxies"):
            simulate_survey(survey, samples=samples)
    console.print("[bold]2/3 pretrain[/bold] without a single label (about 4 minutes on 2 cores)")
    pretrain(demo_config(survey, steps), run, resume=(run / "config.toml").exists())
    console.print("[bold]3/3 compare[/bold] what a linear probe reads out of frozen features")
    source = open_source(survey)
    encoder = FrozenEncoder(run)
    protocol = read_protocol("few-shot").model_copy(update={"shots": SHOTS})
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


def demo_config(survey: Path, steps: int | None = None) -> PretrainConfig:
    """The recipe `demo`, in float32 where the processor has no bfloat16."""
    flags = {
        "data.path": str(survey),
        "steps": steps,
        "precision": None if devices.computes_bfloat16(torch.device("cpu")) else "float32",
    }
    return settings.resolve(settings.read_recipe(find("recipes", "demo")), (), flags)
