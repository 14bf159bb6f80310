"""What a run on a cluster sends of its experiment: copies of the files of model and data in the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from workbench.cluster.delivery import kept_file, kept_model_file
from workbench.cluster.work import SentFiles
from workbench.data.dataset import NAMES, check_exists
from workbench.models.demo import recipe_digest
from workbench.plan.reading import train_key
from workbench.plan.subject import Platform
from workbench.runs.pipeline import on_event_only
from workbench.runs.reading import demo_model
from workbench.runs.run_rows import OnEvent
from workbench.runs.sources import DEMO
from workbench.settings.experiment import Experiment
from workbench.store import Store
from workbench.system.stop import Stop
from workbench.workers.pool import Pool


def sent_files(experiment: Experiment, store: Store, stop: Stop, on_event: OnEvent) -> SentFiles:
    """The experiment with copies of its files in the store."""
    files, entries = {}, []
    if experiment.model == DEMO:
        with Pool(store.log_path, stop) as pool:
            demo_model(store, pool, partial(on_event_only, on_event))
        entries = [("demo", train_key(recipe_digest(), Platform.here()))]
    else:
        files["model"] = kept_model_file(experiment.model, store)
    check_exists(experiment.data)
    if experiment.data not in NAMES:
        files["data"] = kept_file(Path(experiment.data), store)
    return SentFiles.of(experiment, files, entries)
