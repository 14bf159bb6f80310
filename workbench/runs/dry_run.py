"""What a run would do, without doing any of it: the plan of an experiment beside what the store has."""

from __future__ import annotations

from pathlib import Path

from workbench.models.demo import recipe_digest
from workbench.models.inspection import digest_of, recognize
from workbench.plan.planning import plan, subject_of
from workbench.plan.reading import reading_steps, train_step
from workbench.plan.rows import check_batch
from workbench.plan.scoring import Scoring
from workbench.plan.step import Plan, Step
from workbench.plan.subject import Platform
from workbench.records import Model
from workbench.runs.history import History
from workbench.runs.outlook import Outlook, StepState, outlook
from workbench.runs.reading import described
from workbench.runs.sources import DEMO, data_of
from workbench.settings.experiment import Experiment
from workbench.store import Store

UNREAD = "The other steps are known when the model has been read: run the experiment, or open the model with 'inspect'."


def look_ahead(
    experiment: Experiment, store: Store, scoring: Scoring, *, only: str = "all", remeasure: bool = False
) -> Outlook:
    """The plan of an experiment and the state of each step. The samples are read; no file is written and no process is started.

    Where the store does not have what opening the model shows, the plan ends with that step.

    Raises:
        InputError: the model or the data cannot be used.
    """
    platform = Platform.here()
    asked = (experiment.signature, experiment.input_shapes, experiment.input_values)
    if experiment.model == DEMO:
        train = train_step(recipe_digest(), platform)
        place = store.path(train.artefact, train.key) / "demo.keras"
        if store.peek(train.artefact, train.key) is None:
            return _unread((train, *reading_steps(str(place), "", "keras", asked, platform, (train.id,))), store)
    else:
        place = Path(experiment.model).expanduser().absolute()
    kind = recognize(str(place))
    steps = reading_steps(str(place), digest_of(place), kind, asked, platform)
    model = _opened(store, steps[-1], place)
    if model is None:
        return _unread(steps, store)
    data = data_of(experiment, model, metric=scoring.metric)
    check_batch(experiment, model)
    subject = subject_of(experiment, model, data, platform)
    found = plan(experiment, model, subject.samples, scoring=scoring, platform=platform, only=only)
    return outlook(found, experiment, subject, store, remeasure=remeasure)


def _opened(store: Store, step: Step, place: Path) -> Model | None:
    """The model as the store describes it; ``None`` where it does not."""
    found = store.peek(step.artefact, step.key)
    try:
        return described(found.facts, place) if found else None
    except Exception:  # facts of another version: the model will be read again
        return None


def _unread(steps: tuple[Step, ...], store: Store) -> Outlook:
    """As far as is known before the model has been read."""
    there = [store.peek(step.artefact, step.key) is not None for step in steps]
    states = tuple(StepState.THERE if one else StepState.OPEN for one in there)
    return Outlook(Plan((), steps), states, tuple(map(History(store).seconds, steps)), UNREAD)
