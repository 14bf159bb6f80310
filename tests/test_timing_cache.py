"""The file of kernel timings. TensorRT for RTX ignores such caches and still makes and writes them as the full library does."""

import pytest

from workbench import timing_cache
from workbench.machine import Machine, this_machine
from workbench.trt import FULL, RTX, library

pytestmark = pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")


@pytest.fixture
def config():
    if not RTX.installed:
        pytest.skip(RTX.installed.reason)
    trt, log = library(RTX)
    builder = trt.Builder(log)
    yield builder.create_builder_config()
    del builder


def test_what_one_build_wrote_the_next_one_reads(config, tmp_path):
    file = tmp_path / "below" / "cache.bin"
    assert timing_cache.give(config, file)  # there is none yet: an empty one
    timing_cache.keep(config, file)
    first = file.read_bytes()
    assert len(first) > 50
    assert timing_cache.give(config, file)
    timing_cache.keep(config, file)
    assert file.read_bytes() == first
    assert list(file.parent.iterdir()) == [file]


class Strict:
    """A configuration as the full library's is documented: a cache that does not fit is None or refused."""

    def __init__(self, made):
        self.made, self.given = made, []

    def create_timing_cache(self, data):
        return data if self.made or not data else None

    def set_timing_cache(self, cache, *, ignore_mismatch):
        assert ignore_mismatch is False
        assert cache is not None
        self.given.append(cache)
        return cache == b""


@pytest.mark.parametrize("made", [True, False])
def test_a_cache_that_does_not_fit_is_told_and_an_empty_one_given(tmp_path, made):
    file = tmp_path / "cache.bin"
    file.write_bytes(b"of another version")
    config = Strict(made)
    assert not timing_cache.give(config, file)
    assert config.given[-1] == b""


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    timing_cache.give(config, tmp_path / "file" / "cache.bin")
    timing_cache.keep(config, tmp_path / "file" / "cache.bin")
    assert (tmp_path / "file").read_text() == "in the way"


def test_there_is_a_file_for_each_version_and_gpu(monkeypatch, tmp_path):
    def on(gpu):
        machine = Machine(**{**this_machine().__dict__, "gpu": gpu})
        monkeypatch.setattr(timing_cache, "this_machine", lambda: machine)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    on("NVIDIA A")
    paths = [timing_cache.path(FULL, "11.4.0.106"), timing_cache.path(FULL, "11.4.0.107")]
    on("NVIDIA B")
    paths.append(timing_cache.path(FULL, "11.4.0.106"))
    assert len(set(paths)) == 3
    assert {path.parent for path in paths} == {tmp_path / "inference-workbench" / "timing"}
    on("")
    assert timing_cache.path(FULL, "11.4.0.106") is None
