import threading
import time

import pytest

from workbench.cuda.stream_threads import StreamThreads


@pytest.fixture
def stream_threads():
    made = StreamThreads(3, lambda: None, lambda: None)
    yield made
    made.close()


def test_every_thread_answers_and_all_are_still_at_rest(stream_threads):
    made = [0, 0, 0]

    def calls(place):
        def call():
            made[place] += 1
            time.sleep(0.001)

        return call

    stream_threads.calls = [calls(place) for place in range(3)]
    for _ in range(60):
        stream_threads()
    stream_threads.rest()
    assert min(made) > 0
    assert sum(made) >= 60
    kept = list(made)
    time.sleep(0.02)
    assert made == kept
    stream_threads()  # and on again
    stream_threads.rest()
    assert sum(made) > sum(kept)


def test_calls_can_be_exchanged_at_rest_and_old_answers_are_forgotten(stream_threads):
    stream_threads.calls = [lambda: None] * 3
    for _ in range(10):
        stream_threads()
    stream_threads.rest()
    gate = threading.Event()
    stream_threads.calls = [gate.wait] * 3
    waiting = threading.Thread(target=stream_threads, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()  # an answer of before would have let it go
    gate.set()
    waiting.join(5)
    assert not waiting.is_alive()


def test_what_a_call_raises_reaches_the_caller_and_the_others_go_on(stream_threads):
    def broken():
        raise ValueError("no more memory")

    stream_threads.calls = [broken, lambda: time.sleep(0.001), lambda: time.sleep(0.001)]
    answers = []
    while not answers:
        try:
            stream_threads()
        except ValueError as error:
            answers.append(str(error))
    assert answers == ["no more memory"]
    stream_threads()
    stream_threads.rest()


def test_threads_enter_and_leave():
    entered, left = [], []
    stream_threads = StreamThreads(
        2, lambda: entered.append(threading.get_ident()), lambda: left.append(threading.get_ident())
    )
    stream_threads.close()
    assert len(set(entered)) == 2
    assert sorted(entered) == sorted(left)


def test_answers_that_come_in_bunches_have_the_time_of_their_share(stream_threads):
    """Three calls that end together every 30 ms: an answer every 10 ms, and not one after 30 ms and two after none."""
    together = threading.Barrier(3)

    def call():
        if together.wait() == 0:
            time.sleep(0.03)
        together.wait()

    stream_threads.calls = [call] * 3
    found = [stream_threads() for _ in range(9)]
    together.abort()
    stream_threads.rest()
    assert sorted(found)[4] >= 9_000_000
    assert sum(found) >= 9 * 9_000_000
