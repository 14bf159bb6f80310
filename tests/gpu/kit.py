"""A model, its engines and the workers that open them."""

import numpy as np

from workbench import backends
from workbench.cuda.gpu import IMPORTS
from workbench.data.dataset import dataset
from workbench.records import to_json
from workbench.runs.engines import Means
from workbench.runs.executor import Executor
from workbench.settings.experiment import Experiment
from workbench.workers.worker import Worker, thread_env


class Kit:
    """A model, its samples, and workers that open its engines."""

    def __init__(self, store, pool, model):
        self.store, self.pool, self.model = store, pool, model
        self.data = dataset("random", model, 0, 0, demo=False)
        self.executor = Executor.of(Means(store, pool, lambda _: None), model, self.data)
        self.samples = self.data.test.take(slice(0, 30))

    def engine(self, address="onnxruntime:cuda", precision="fp32", **changes):
        asked = Experiment(backends=address, precisions=precision, batches="1,4", **changes)
        (spec,) = asked.variants()
        assert backends.get(spec.backend).status(spec.mode)
        assert backends.get(spec.backend).supports(spec, self.model)
        record, _ = self.executor.engine_of(spec)
        return record

    def open(self, engine):
        worker = Worker(self.store.log_path("gpu"), env=thread_env(1))
        try:
            worker.call("hello", modules=[*backends.modules(engine.spec), *IMPORTS])
            worker.call("open_engine", engine=str(self.store.path("engine", engine.key)), record=to_json(engine))
        except BaseException:
            worker.kill()
            raise
        return worker

    def outputs(self, worker, batch, folder):
        into = folder / f"outputs-{batch}.npz"
        worker.call("evaluate", samples=str(self.executor.samples_file(self.samples)), batch=batch, into=str(into))
        with np.load(into) as file:
            return {name: file[name] for name in file.files}

    def ready(self, worker, region, batch=4, **more):
        samples = str(self.executor.samples_file(self.samples))
        worker.call("prepare_timing", samples=samples, batch=batch, region=region, warm_up_s=0.05, **more)
