"""Results in an MLflow store, and inside a notebook."""

import base64
import json

import nbformat
import pytest
from small_model import small_onnx

import workbench
from workbench.compare.pairs import comparison
from workbench.errors import InputError, MissingPackageError
from workbench.report.document import document
from workbench.report.embedded import MIME, bundle
from workbench.store import Store
from workbench.tracking import mlflow_store
from workbench.tracking.mlflow_store import metrics, track


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A small run: the store, what was asked, and the results."""
    folder = tmp_path_factory.mktemp("run")
    store = Store(folder / "store").prepare()
    asked = workbench.Experiment(
        model=small_onnx(folder / "small.onnx"), backends="onnxruntime", precisions="fp32,fp16-weights", batches="1", data="random",
        measure_s=0.24, max_measure_s=0.3,
    )  # fmt: skip
    return store, asked, workbench.run(asked, store=store)


def notebook(path, *outputs):
    cells = [
        nbformat.v4.new_code_cell(
            "view", outputs=[nbformat.v4.new_output("display_data", data=data) for data in outputs]
        )
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_results_in_a_notebook_come_back_with_their_durations(ran, tmp_path):
    store, _, results = ran
    made = bundle(results, store.root)
    file = notebook(tmp_path / "report.ipynb", {"text/plain": "a table"}, made)
    read = workbench.read(file)
    assert made[MIME]["results"] == document(results)
    assert [row.row for row in read.measured] == [row.row for row in results.measured]
    assert [list(b.samples_ns) for row in read.measured for b in row.timing.blocks] == [
        list(b.samples_ns) for row in results.measured for b in row.timing.blocks
    ]
    assert [row.verdict for row in comparison(read).rows] == [row.verdict for row in comparison(results).rows]
    assert not read.imported


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((), "holds no results"),
        (({MIME: {"results": {}, "run_file": None}},), "too large"),
        (({MIME: {"run_file": "%%%"}},), "are damaged"),
        (({MIME: {"run_file": base64.b64encode(b"nothing").decode()}},), "not a file of a run|damaged"),
    ],
)
def test_a_notebook_without_usable_results_is_refused(outputs, message, tmp_path):
    with pytest.raises(InputError, match=message):
        workbench.read(notebook(tmp_path / "other.ipynb", *outputs))


def test_what_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "text.ipynb").write_text("text")
    with pytest.raises(InputError, match="is not a notebook"):
        workbench.read(tmp_path / "text.ipynb")
    with pytest.raises(InputError, match="no notebook"):
        workbench.read(tmp_path / "gone.ipynb")


@pytest.mark.long
def test_a_tracked_run_has_parameters_metrics_and_files(ran, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    store, asked, results = ran
    monkeypatch.chdir(tmp_path)  # MLflow writes into the working folder unless it is given another
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    page = tmp_path / "page.html"
    page.write_text("<p>a report</p>")
    assert str(store.root / "mlflow.db") in track(results, asked, store, [page])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store.root.absolute() / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "small"]
    found = client.search_runs([experiment.experiment_id])
    (whole,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    nested = [run for run in found if run is not whole]
    assert whole.data.params["backends"] == "onnxruntime"
    assert whole.data.tags["workbench.run"] == results.run
    rows = {row["row"]: row for row in document(results)["rows"]}
    assert {run.info.run_name for run in nested} == set(rows)
    for run in nested:
        assert run.data.metrics == pytest.approx(metrics(rows[run.info.run_name]))
    assert whole.data.metrics["onnxruntime fp32 batch 1/p50_s"] == rows["onnxruntime fp32 @1"]["timing"]["p50_s"] > 0
    names = {one.path for one in client.list_artifacts(whole.info.run_id)}
    assert {"results.json", "plan.json", "page.html", "figures"} <= names
    assert whole.info.status == "FINISHED"
    assert not (tmp_path / "mlruns").exists()


def test_a_tracker_that_is_not_installed_is_refused_before_the_run(monkeypatch, tmp_path, capsys):
    def absent(name, fix):
        raise MissingPackageError(f"This needs the package '{name}'. To install it: {fix}")

    monkeypatch.setattr(mlflow_store, "optional", absent)
    assert workbench_main("run", "--model", str(tmp_path / "gone.onnx"), "--track", "mlflow", "--json") == 1
    assert "inference-workbench[mlflow]" in json.loads(capsys.readouterr().out)["message"]


def workbench_main(*words):
    from workbench.cli import main

    return main(list(words))
