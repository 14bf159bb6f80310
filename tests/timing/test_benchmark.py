import random
import threading
import time

from workbench.timing import benchmark


def test_a_block_lasts_as_long_as_asked_and_times_each_call():
    block = benchmark.timed_block(lambda: time.sleep(0.002), 0.05)
    assert min(block.samples_ns) >= 2_000_000
    assert sum(block.samples_ns[:-1]) < 50_000_000 <= block.wall_s * 1e9  # no call begins after the time asked for
    assert sum(block.samples_ns) <= block.wall_s * 1e9


def test_a_slow_call_is_timed_once():
    block = benchmark.timed_block(lambda: time.sleep(0.03), 0.001)
    assert len(block.samples_ns) == 1


def test_cpu_time_shows_the_work():
    def busy():
        end = time.thread_time() + 0.005  # of the CPU, which other programs do not use up
        while time.thread_time() < end:
            pass

    working, sleeping = benchmark.timed_block(busy, 0.1), benchmark.timed_block(lambda: time.sleep(0.005), 0.1)
    assert working.cpu_s >= 0.005 * len(working.samples_ns)
    assert sleeping.cpu_s < 0.0025 * len(sleeping.samples_ns)


def test_settle_sees_a_thread_that_spins():
    assert benchmark.settle(0.2)
    stop = threading.Event()

    def spin():
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert not benchmark.settle(0.1)
    finally:
        stop.set()
        thread.join()


def test_warm_up_goes_on_until_the_calls_are_stable():
    calls = 0

    def speeding_up():
        nonlocal calls
        calls += 1
        time.sleep(max(0.002, 0.04 - 0.004 * calls))

    durations = benchmark.warm_up(speeding_up, 0.01)
    assert len(durations) > 2 * benchmark.WINDOW_CALLS  # the first two windows differ by far
    assert len(durations) == calls


def test_warm_up_sees_calls_that_get_faster_slowly():
    """Two windows of five calls each would have looked alike."""
    began = time.perf_counter()

    def faster_for_half_a_second():
        left = max(0.0, 0.5 - (time.perf_counter() - began))
        time.sleep(0.001 + 0.02 * left)

    benchmark.warm_up(faster_for_half_a_second, 0.01)
    assert time.perf_counter() - began > 0.4


def test_warm_up_does_not_wait_for_a_busy_machine_to_become_steady():
    draw = random.Random(0)
    began = time.perf_counter()
    benchmark.warm_up(lambda: time.sleep(draw.choice((0.001, 0.006))), 0.1)
    assert time.perf_counter() - began < benchmark.WARM_UP_LIMIT_S / 2


def test_a_block_tells_what_was_around_it():
    around = benchmark.timed_block(lambda: time.sleep(0.001), 0.02).around
    assert around.voluntary_switches >= 10  # every sleep gives the core away
    assert around.cores >= 1


def test_a_devices_own_time_is_kept_instead_of_this_clocks():
    reported = iter(range(1000, 10_000))
    block = benchmark.timed_block(lambda: next(reported), 0.0001, own_clock=True)
    assert block.samples_ns == list(range(block.samples_ns[0], block.samples_ns[0] + len(block.samples_ns)))
    assert block.samples_ns[0] > 1000  # the untimed calls at the beginning were not kept


def test_a_block_makes_as_many_calls_as_it_must():
    assert len(benchmark.timed_block(lambda: time.sleep(0.001), 0.001, min_calls=12).samples_ns) == 12


def test_what_comes_after_the_last_call_is_asked_for_once():
    calls = []
    block = benchmark.timed_block(lambda: calls.append("call"), 0.001, after=lambda: calls.append("after") or "state")
    assert block.after == "state"
    assert calls[-1] == "after"
    assert calls.count("after") == 1
