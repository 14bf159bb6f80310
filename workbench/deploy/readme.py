"""The README of a deployment."""

from __future__ import annotations

from workbench.backends.base import Deployed
from workbench.records import Deployment, Measured


def readme(made: Deployment, parts: Deployed) -> str:
    """``README.md`` of a deployment, in Markdown."""
    portable = made.bound or f"It runs where {made.library} runs; the speed is that of the machine below."
    sections = [
        f"# {made.name}: {made.variant} at batch {made.batch}",
        f"Deployed from the model `{made.model}` (SHA-256 {made.model_sha256[:12]}…) by the run `{made.run}`. {_sentence(portable)}",
        _facts(made),
        "## Check it",
        f"```sh\npip install {' '.join(made.packages)}\npython selftest.py\n```\n\n{CHECKED}",
        parts.edge and f"## On a device\n\n{parts.edge}",
        "## Serve it",
        SERVED,
        _container(made, parts),
        "## Files\n\n" + "\n".join(f"- `{name}`: {what}" for name, what in FILES.items()),
    ]
    return "\n\n".join(filter(None, sections)) + "\n"


CHECKED = (
    "The self-test runs the calls of `reference.npz`, compares the answers with those of the engine that was measured, and compares "
    "the speed with `deployment.json`."
)
SERVED = (
    "`workbench serve DIR` starts Triton on this folder's `repository`, checks the reference through HTTP and gRPC, and says when it is "
    "ready. `model.py` runs the model in Triton's Python backend; tensors come and go by DLPack."
)
FILES = {
    "deployment.json": "what was deployed and measured, and the SHA-256 of every file",
    "preprocessing.json": "what a client sends: types, shapes, values, and how images become an input",
    "reference.npz": "inputs and expected outputs, `input:NAME` and `output:NAME`, the first axis is the call",
    "drift.npz": "test samples and their answers, with which live samples are compared",
    "selftest.py": "the check of answers and speed",
    "repository": "the model repository of Triton, with the model's files in the folder `1` of the model",
}


def _facts(made: Deployment) -> str:
    rows = [
        ("precision", f"{made.asked}, built as {made.built}"),
        ("library", f"{made.library} {made.library_version}"),
        ("accuracy", made.accuracy or "not known"),
        ("budget", made.budget or "none"),
        ("measured on", made.machine.label),
        *((f"batch {one.batch}", _speed(one)) for one in made.measured),
        ("queue", _queue(made)),
        ("source", made.source or "none: no variant in FP32 was measured beside it"),
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows)


def _speed(one: Measured) -> str:
    return (
        f"{one.median_s * 1e3:.3g} ms, {one.samples_per_s:,.0f} samples/s, {one.launches} launches, {one.measured_at}"
    )


def _queue(made: Deployment) -> str:
    queue = made.queue
    if not queue.max_batch:
        return "requests are run one by one"
    return (
        f"requests are joined to batches of up to {queue.max_batch}; up to {queue.length} wait, more are refused; "
        f"{queue.instances} {'instance' if queue.instances == 1 else 'instances'}"
    )


def _container(made: Deployment, parts: Deployed) -> str:
    own = (
        'To run the model by Triton\'s own backend there, remove `model.py` and replace `backend: "python"` in `config.pbtxt` by:\n\n'
        f"```\n{parts.container}\n```\n\nThat was written by the documentation of that backend and was not tried."
        if parts.container
        else "Triton has no backend of its own for these files; the Python backend runs them."
    )
    return (
        "## In NVIDIA's container\n\nThe folder `repository` is a model repository of Triton Inference Server: "
        f"`tritonserver --model-repository=repository`, with `pip install {' '.join(made.packages)}` in the image. {own}"
    )


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
