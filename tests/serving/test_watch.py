"""A served INT8 engine is compared with its source in FP32 beside the requests, and what differs is kept on disk, within bounds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from test_model_metrics import values

from workbench import cli
from workbench.deploy.files import watching
from workbench.deploy.files.selftest import reference
from workbench.deploy.folder import DRIFT, read
from workbench.errors import InputError
from workbench.panel.tables import gallery
from workbench.serving.server import Server, served
from workbench.serving.watch import Watch, disagreements, watched_folder, window

KEPT = 4
ENOUGH_S = 120.0


@pytest.fixture(scope="module")
def watched(triton, int8) -> Iterator[tuple[Server, Path]]:
    folder = watched_folder(int8)
    with served(int8, watch=Watch(folder, shadow_every=2, kept=KEPT, window=30, window_s=0.3)) as server:
        yield server, folder


def until(condition, limit_s: float = ENOUGH_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_deployment_takes_the_source_along(int8, wide) -> None:
    made = read(int8)
    assert (made.source, made.source_backend) == ("onnxruntime fp32", "onnxruntime")
    assert "repository/wide/1/source/model.onnx" in made.files
    assert read(wide).source == ""  # it is in FP32 itself
    with np.load(int8 / DRIFT) as file:
        assert file["input:x"].shape[1] == 512
        assert file["output:y"].shape == (len(file["input:x"]), 512)


def test_every_second_request_is_compared_and_what_differs_is_kept(watched, int8) -> None:
    server, folder = watched
    instances = server.deployment.queue.instances  # each has a ring of its own
    draw = np.random.default_rng(5)
    with closing(server.http()) as client:

        def more() -> bool:
            """Values near the border of two classes: some of them change by INT8."""
            client.infer({"x": draw.normal(size=(4, 512)).astype(np.float32)})
            return values(server).get("wb_shadow_disagreements{}", 0) > KEPT * instances

        deadline = time.monotonic() + ENOUGH_S
        while not more():
            assert time.monotonic() < deadline
    found = values(server)
    assert found["wb_shadow_compared{}"] >= found["wb_shadow_disagreements{}"] > KEPT
    assert found["wb_shadow_failed{}"] == 0
    until(lambda: len(list(folder.glob("disagreements/[!.]*.npz"))) >= KEPT)
    flips = disagreements(folder)
    assert KEPT <= flips.changed <= KEPT * instances
    for flip in flips.shown:
        assert flip.first != flip.second
        assert flip.inputs["x"].shape == (512,)
    page = gallery(flips, "served", "source")
    assert page.count("<figure") == len(flips.shown)


def test_a_window_of_recent_samples_is_on_disk(watched) -> None:
    server, folder = watched
    marked = np.full((1, 512), 7.0, np.float32)

    def seen() -> bool:
        with closing(server.http()) as client:
            client.infer({"x": marked})
        inputs, outputs = window(folder)
        return bool(inputs) and bool((inputs["x"] == 7).all(1).any()) and outputs["y"].shape[1] == 512

    until(seen)
    assert len(window(folder)[0]["x"]) <= 30 * server.deployment.queue.instances


def test_answers_are_those_without_a_watch(watched, int8) -> None:
    inputs, expected = reference(int8)
    with closing(watched[0].http()) as client:
        for call in range(4):
            found = client.infer({"x": inputs["x"][call]})["y"]
            np.testing.assert_allclose(found, expected["y"][call], atol=0.05 * expected["y"].max())


HELD = """
import time
def open_model(folder, options):
    def run(feeds):
        while not (folder / "go").exists():
            time.sleep(0.005)
        return {"y": -feeds["x"]}
    return run
"""


@pytest.fixture
def held(tmp_path) -> Iterator[watching.Watcher]:
    """A watch whose source answers only when the file ``source/go`` is there, and then otherwise."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "runner.py").write_text(HELD)
    source = {"options": {}, "fixed_batch": None, "tolerance": 0.05}
    how = {"source": source, "metrics": {"output": "y"}, "outputs": ["y"]}
    settings = Watch(tmp_path / "kept", shadow_every=1, kept=3, window=0).settings
    made = watching.Watcher(tmp_path, how, "one", settings)
    yield made
    go(tmp_path)
    made.close(ENOUGH_S)


def go(folder: Path) -> None:
    (folder / "source" / "go").touch()


def test_a_full_queue_drops_and_counts_and_never_waits(held, tmp_path) -> None:
    row = {"x": np.arange(10, dtype=np.float32)[None]}
    for _ in range(100):  # while the source holds the first one, so that a wait would be forever
        held.offer(row, {"y": row["x"]})
    assert held.counts["dropped"] in (
        100 - watching.LENGTH,
        100 - watching.LENGTH - 1,
    )  # whether the first one was taken out
    go(tmp_path)
    held.close(ENOUGH_S)
    counts = held.counts
    assert counts["compared"] + counts["dropped"] == 100
    assert counts["disagreements"] == counts["compared"] > 0


def test_the_ring_is_bounded(held, tmp_path) -> None:
    go(tmp_path)
    for place in range(8):
        row = {"x": np.eye(10, dtype=np.float32)[place][None]}
        held.offer(row, {"y": row["x"]})
    held.close(ENOUGH_S)
    assert held.counts["disagreements"] == 8
    assert len(list((tmp_path / "kept" / "disagreements").glob("*"))) == 3
    assert (tmp_path / "kept" / "disagreements").stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_ends_nothing(held, tmp_path, capfd) -> None:
    (tmp_path / "kept").write_text("a file")
    go(tmp_path)
    row = {"x": np.arange(10, dtype=np.float32)[None]}
    held.offer(row, {"y": row["x"]})
    held.close(ENOUGH_S)
    assert held.counts["disagreements"] == 1
    assert "cannot be written" in capfd.readouterr().err


def test_code_of_others_in_the_source_is_not_run(int8, tmp_path) -> None:
    from test_server import changed

    inner = "repository/wide/1/source/runner.py"
    copy = changed(int8, tmp_path / "copy", inner, (int8 / inner).read_bytes() + b"\nimport os\n")
    with pytest.raises(InputError, match=r"'source/runner.py' of the deployment"), served(copy):
        pass


def test_settings_below_zero_are_refused(int8, capsys) -> None:
    assert cli.main(["serve", str(int8), "--shadow-every", "-1"]) == 2
    assert "--shadow-every" in capsys.readouterr().err
