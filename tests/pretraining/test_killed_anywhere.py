"""Every order of writes of a run, stopped before each change of the disk, and gone on with."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from tests import programs

# A process that has everything imported and planned forks one for each moment. What a process had
# not yet written when it ended is lost, as it is by SIGKILL: `_exit` flushes nothing.
WALK = textwrap.dedent(
    """
    import copy, dataclasses, gc, json, os, sys
    from pathlib import Path
    import torch
    from rich.console import Console
    from domainjepa.pretraining import report, run
    from tests.conftest import tiny

    torch.set_num_threads(1)
    blobs, root = Path(sys.argv[1]), Path(sys.argv[2])
    config = tiny(
        blobs, steps=2, batch_size=4, views__num_local=0, checkpoint__every_steps=1,
        checkpoint__keep=1, log__shortcuts=False, log__probe=False,
    )
    plan = run.make_plan(config)
    run.make_plan = lambda config, **_: dataclasses.replace(
        plan, backbone=copy.deepcopy(plan.backbone)
    )
    report.draw_curves = lambda metrics: b""  # most of the time, and none of the writes
    CHANGES = {"os.mkdir", "os.rmdir", "os.rename", "os.remove", "os.truncate", "fsync"}
    seen = 0


    def before_each_change(last):
        def count(event, arguments):
            global seen
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if event in CHANGES or (writes and str(arguments[0]).startswith(str(root))):
                seen += 1
                if seen == last:
                    os._exit(9)

        sys.addaudithook(count)
        fsync = os.fsync

        def counted_fsync(descriptor):
            count("fsync", ())
            fsync(descriptor)

        os.fsync = counted_fsync


    def pretrain(out):
        resume = (out / "config.toml").exists()
        run.pretrain(config, out, resume=resume, console=Console(quiet=True))


    def stopped(out, last):
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            before_each_change(last)
            pretrain(out)
            os._exit(0)
        finally:
            os._exit(1)


    def state(out):
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            del line["samples_per_s"], line["wait"]
        files = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
        return files, (out / "encoder.safetensors").read_bytes(), lines


    def tear(out):
        # As if the power had been cut: what was not flushed to the disk may be there in part.
        torn = [*out.rglob("*.part")]
        manifest, metrics = out / "checkpoints" / "latest.json", out / "metrics.jsonl"
        flushed = json.loads(manifest.read_text())["step"] if manifest.exists() else 0
        if metrics.exists() and len(metrics.read_text().splitlines()) > flushed:
            torn.append(metrics)
        for path in torn:
            os.truncate(path, path.stat().st_size * 9 // 10)


    pretrain(root / "whole")
    whole = state(root / "whole")
    assert not any(name.startswith(".") or ".part" in name for name in whole[0])
    gc.freeze()  # so that no fork copies what it only looks at
    gc.disable()
    moment, ends = 0, []
    while not ends or ends[-1] == 9:
        moment += 1
        out = root / "runs" / str(moment)
        ends.append(stopped(out, moment))
        if ends[-1] == 9:
            if moment % 2:
                tear(out)
            pretrain(out)
        assert state(out) == whole, f"stopped before change {moment}: not the same in the end"
    assert ends[-1] == 0
    print(json.dumps(moment))
    """
)


def test_a_run_stopped_before_any_change_of_the_disk_ends_in_the_same_bytes(
    blobs: Path, tmp_path: Path
) -> None:
    script = tmp_path / "walk.py"
    script.write_text(WALK)
    done = programs.run(script, blobs, tmp_path / "walked", timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) > 40, "changes of the disk in one run"
