"""A session that was ended before its end goes on: the real rounds and the real store, over workers that take no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import BASE, OTHER, PEER, OpenEngines, Synthetic, opened_for

from workbench.measure.verdict import evidence, judged
from workbench.records import Ended, Status, Timing, Verdict
from workbench.runs import checkpoints, cohorts
from workbench.runs.rounds import measure_groups
from workbench.store import Store
from workbench.store.draft import Draft

TIMES = {BASE: (1.0, 0.0), PEER: (0.2, 0.0), OTHER: (1.05, 0.0)}
"""One launch shows that the second is faster, and four that the third is slower."""
BLOCKS = [12 * 3, 6 * 2, 6 * 2, 6 * 2]
"""Of each launch."""
GROUP = "group"


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every block that is measured."""
    measured: list[int] = []
    monkeypatch.setattr(Synthetic, "during", lambda _: measured.append(1))
    return measured


def measure(opened: OpenEngines, **more: Any) -> OpenEngines:
    measure_groups(opened, {1: GROUP}, "samples", opened.experiment.plan.region, resumable=True, **more)
    return opened


def killed_at(launch: int, store: Store, times: dict[str, tuple[float, float]] = TIMES) -> OpenEngines:
    """A session that ends while this launch begins, numbered from 0."""
    opened = opened_for(times, store)

    def relaunch(engines: list[Any]) -> None:
        if len(opened.launched) == launch:
            raise Killed
        opened.start(engines)

    opened.relaunch = relaunch
    with pytest.raises(Killed):
        measure(opened)
    return opened


def next_run(store: Store, times: dict[str, tuple[float, float]] = TIMES) -> tuple[OpenEngines, dict[str, Timing]]:
    """What a run does that finds this store; the timings by variant."""
    opened = opened_for(times, store)
    rows = opened.run_rows.rows
    checkpoints.finish(store, GROUP)
    known = cohorts.recall(store, GROUP, rows, rows[0])
    if len(known) < len(rows):
        measure(opened)
        known = cohorts.recall(store, GROUP, rows, rows[0])
    return opened, {row.spec.label: known[row.row][0] for row in rows if row.row in known}


def made(store: Store, kind: str) -> dict[str, int]:
    """When each artefact of a kind was made."""
    return {path.parent.name: path.stat().st_mtime_ns for path in store.root.glob(f"{kind}/[!.]*/manifest.json")}


def check_whole(found: dict[str, Timing]) -> None:
    """As after a session that nothing ended."""
    assert {label: (timing.ended, len(timing.launches), len(timing.blocks)) for label, timing in found.items()} == {
        BASE: (Ended.KNOWN, 4, 30),
        PEER: (Ended.KNOWN, 1, 12),
        OTHER: (Ended.KNOWN, 4, 30),
    }
    assert len({timing.group for timing in found.values()}) == 1
    for timing in found.values():
        assert [block.round for block in timing.blocks] == list(range(len(timing.blocks)))
        assert [block.launch for block in timing.blocks] == ([0] * 12 + [1] * 6 + [2] * 6 + [3] * 6)[
            : len(timing.blocks)
        ]
    assert judged([evidence(found[OTHER], found[BASE])])[0].verdict is Verdict.SLOWER


@pytest.mark.parametrize("launch", [1, 2, 3])
def test_a_session_goes_on_after_its_last_whole_launch(store, blocks, launch):
    killed_at(launch, store)
    assert len(blocks) == sum(BLOCKS[:launch])
    assert not [name for name in store.used if name.startswith("checkpoint")]  # no results need one
    (session,) = {checkpoints.load(store, GROUP).session}
    opened, found = next_run(store)
    assert len(blocks) == sum(BLOCKS)
    check_whole(found)
    assert found[BASE].group == session
    said = f"batch 1: going on after launch {launch} of at most 7, which an earlier run had finished"
    assert [event.text for event in opened.events if "going on" in event.text] == [said]
    assert opened.launched == [[BASE, PEER, OTHER], *[[BASE, OTHER]] * (4 - launch)]  # never with those opened first
    tally = opened.run_rows.tally
    assert (tally.measured, tally.reused_timings) == (2, 1)
    assert {label: row.reused for label, row in zip(TIMES, opened.run_rows.rows, strict=True)} == {
        BASE: False,
        PEER: True,
        OTHER: False,
    }
    assert made(store, "checkpoint") == {}


def test_rounds_go_on_after_those_of_the_earlier_run_by_the_clock_too(store):
    killed_at(2, store)
    earlier = checkpoints.load(store, GROUP).members
    _, found = next_run(store)
    began = [block.began_s for block in found[BASE].blocks]
    assert began == sorted(began)
    (before,) = (each.timing for each in earlier.values() if each.timing.engine_key == found[BASE].engine_key)
    assert found[BASE].blocks[:18] == before.blocks
    assert began[18] > before.blocks[-1].began_s


def test_the_medians_of_the_earlier_run_count_from_the_first_round(store):
    killed_at(1, store)
    opened, _ = next_run(store)
    (first, *_) = (event.medians_s for event in opened.events if event.medians_s)
    assert set(first) == {f"{BASE} @1", f"{OTHER} @1"}


def moments(monkeypatch: pytest.MonkeyPatch, number: int) -> Callable[[], int]:
    """Dies at this step of the store: right before an artefact is published or removed, or right after; tells how many steps there were."""
    steps: list[str] = []

    def wrapped(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            for when in ("before", "after"):
                found = work(*given) if when == "after" else None
                steps.append(when)
                if len(steps) - 1 == number:
                    raise Killed
            return found

        return step

    monkeypatch.setattr(Draft, "publish", wrapped(Draft.publish))
    monkeypatch.setattr(checkpoints, "discard", wrapped(checkpoints.discard))
    return lambda: len(steps)


STEPS = 24
"""Four checkpoints, three timings, the list of members, and four removals; before and after."""


@pytest.mark.parametrize("number", range(STEPS))
def test_a_kill_at_any_step_of_the_store_leaves_nothing_to_be_made_again(store, blocks, number):
    opened = opened_for(TIMES, store)
    with pytest.MonkeyPatch.context() as patched:
        moments(patched, number)
        with pytest.raises(Killed):
            measure(opened)
    timings, members, spent = made(store, "timing"), made(store, "cohort"), len(blocks)
    _, found = next_run(store)
    check_whole(found)
    assert made(store, "timing").items() >= timings.items()
    assert made(store, "cohort").items() >= members.items()
    assert made(store, "checkpoint") == {}
    # only of a launch whose checkpoint was not yet published are the blocks measured again
    lost = len(blocks) - sum(BLOCKS)
    assert lost in (0, *BLOCKS)
    assert spent == sum(BLOCKS) or lost <= BLOCKS[[sum(BLOCKS[: n + 1]) for n in range(4)].index(spent)]


def test_there_are_as_many_steps(store, monkeypatch):
    count = moments(monkeypatch, -1)
    measure(opened_for(TIMES, store))
    assert count() == STEPS


def test_other_variants_are_another_session(store, blocks):
    killed_at(2, store)
    before = checkpoints.load(store, GROUP).session
    blocks.clear()
    two = {BASE: TIMES[BASE], OTHER: TIMES[OTHER]}
    opened, found = next_run(store, two)
    assert not [event for event in opened.events if "going on" in event.text]
    assert len(blocks) == (12 + 3 * 6) * 2
    assert before not in {timing.group for timing in found.values()}
    assert made(store, "checkpoint") == {}


def test_a_variant_that_failed_is_measured_anew_with_the_others(store, blocks):
    """It had no part in the last launches, and so cannot be compared over all of them."""
    opened = opened_for(TIMES, store)
    opened.fails = {OTHER: "block"}  # from its second start

    def relaunch(engines: list[Any]) -> None:
        if len(opened.launched) == 2:
            raise Killed
        opened.start(engines)

    opened.relaunch = relaunch
    two = {BASE: (1.0, 0.0), OTHER: (1.05, 0.0), PEER: (1.04, 0.0)}
    opened._times = two
    with pytest.raises(Killed):
        measure(opened)
    kept = checkpoints.load(store, GROUP)
    assert kept.launches == 2
    assert len(kept.members) == 2
    blocks.clear()
    _, found = next_run(store, two)
    assert kept.session not in {timing.group for timing in found.values()}
    assert len(found) == 3
    assert len(blocks) == (12 + 3 * 6) * 3


@pytest.mark.parametrize(("damaged", "goes_on_after"), [(0, 0), (1, 1), (2, 2)])
def test_a_session_goes_on_after_the_launches_that_are_sound(store, blocks, damaged, goes_on_after):
    killed_at(3, store)
    samples = store.path("checkpoint", checkpoints.checkpoint_key(GROUP, damaged)) / "samples.npy"
    samples.write_bytes(samples.read_bytes()[:-8])
    blocks.clear()
    _, found = next_run(store)
    assert len(blocks) == sum(BLOCKS[goes_on_after:])
    check_whole(found)


def test_launches_of_two_attempts_are_not_put_together(store):
    killed_at(3, store)
    samples = store.path("checkpoint", checkpoints.checkpoint_key(GROUP, 1)) / "samples.npy"
    samples.write_bytes(samples.read_bytes()[:-8])
    killed_at(2, store)  # which measured the second launch again; the third is that of the first attempt
    assert len(made(store, "checkpoint")) == 4  # with the damaged one, which was set aside
    assert checkpoints.load(store, GROUP).launches == 2
    check_whole(next_run(store)[1])


def test_facts_that_an_unknown_version_wrote_are_no_checkpoint(store):
    store.put("checkpoint", checkpoints.checkpoint_key(GROUP, 0), {"rounds": 12})
    assert checkpoints.load(store, GROUP) is None
    check_whole(next_run(store)[1])


def test_a_launch_of_another_session_is_not_put_to_it(store):
    killed_at(3, store)
    first = store.path("checkpoint", checkpoints.checkpoint_key(GROUP, 0))
    other = Store(store.root.parent / "other").prepare()
    killed_at(1, other)
    checkpoints.discard(first)
    (other.root / "checkpoint" / first.name).rename(first)
    assert checkpoints.load(store, GROUP).launches == 1


def test_measuring_again_begins_anew(store, blocks):
    killed_at(2, store)
    checkpoints.begin_anew(store, GROUP)
    assert made(store, "checkpoint") == {}
    blocks.clear()
    check_whole(next_run(store)[1])
    assert len(blocks) == sum(BLOCKS)


def test_no_two_processes_go_on_with_one_session(store, blocks):
    killed_at(2, store)
    kept, there = checkpoints.load(store, GROUP), made(store, "checkpoint")
    blocks.clear()
    with checkpoints.alone(store, GROUP) as ours:
        assert ours
        _, found = next_run(store)
        checkpoints.begin_anew(store, GROUP)
        check_whole(found)
        assert len(blocks) == sum(BLOCKS)
        assert kept.session not in {timing.group for timing in found.values()}
        assert made(store, "checkpoint") == there


def test_without_being_asked_nothing_is_stored_or_looked_for(store, blocks):
    killed_at(2, store)
    there = made(store, "checkpoint")
    blocks.clear()
    opened = opened_for(TIMES, store)
    measure_groups(opened, {1: GROUP}, "samples", opened.experiment.plan.region)
    assert len(blocks) == sum(BLOCKS)
    assert made(store, "checkpoint") == there


def test_peak_memory_is_the_largest_of_all_launches(store):
    killed_at(2, store)  # every launch takes less than the one before
    _, found = next_run(store)
    assert {label: timing.peak_rss_bytes for label, timing in found.items()} == dict.fromkeys(TIMES, 99)


def test_what_is_done_between_launches_is_done_before_workers_start_again(store):
    opened, seen = opened_for(TIMES, store), []

    def between() -> None:
        rows = {row.spec.label: row.status for row in opened.run_rows.rows}
        seen.append((len(opened.launched), rows[PEER], rows[OTHER]))
        (row,) = (row for row in opened.run_rows.rows if row.spec.label == OTHER)
        if len(seen) == 2:
            opened.run_rows.stop.stop_row(row.row)  # as by the user, while engines are scored

    measure(opened, between_launches=between)
    assert seen[:2] == [(1, Status.DONE, Status.MEASURING), (2, Status.DONE, Status.MEASURING)]
    assert opened.launched[:3] == [[BASE, PEER, OTHER], [BASE, OTHER], [BASE]]
