"""The file of kernel timings. TensorRT for RTX ignores such caches and still makes and writes them as the full library does."""

import numpy as np
import pytest

from workbench.backends.tensorrt import timing_cache
from workbench.backends.tensorrt.flavours import FULL, RTX, library
from workbench.errors import InputError
from workbench.system.machine import Machine, this_machine

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
def test_a_cache_that_does_not_fit_is_reported_and_an_empty_one_given(tmp_path, made):
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


class Full:
    """Stands for the full library's builder and cache, around the real keys and values of TensorRT for RTX, whose own cache
    stays empty. The file holds lines of key, tactic and milliseconds.
    """

    __version__ = "11.4.0.106"

    def __init__(self, trt):
        self.BuilderFlag, self.TimingCacheValue, self.TimingCacheKey = (
            trt.BuilderFlag, trt.TimingCacheValue, trt.TimingCacheKey,
        )  # fmt: skip
        self.flags = []

    def Builder(self, log):  # noqa: N802 - the library's name
        return self

    def create_builder_config(self):
        return self

    def set_flag(self, flag):
        self.flags.append(flag)

    def create_timing_cache(self, data):
        lines = [line.split() for line in data.decode().splitlines()] if self.flags else []
        self.known = {key: self.TimingCacheValue(int(tactic), float(ms)) for key, tactic, ms in lines}
        return self

    def queryKeys(self):  # noqa: N802
        return [self.TimingCacheKey.parse(key) for key in self.known]

    def query(self, key):
        return self.known[str(key)]

    def update(self, key, value):
        if str(key) not in self.known or value.tacticHash == 0:
            return False
        self.known[str(key)] = value
        return True

    def serialize(self):
        lines = [f"{key} {value.tacticHash} {value.timingMSec}" for key, value in self.known.items()]
        return "\n".join(lines).encode()


ONE, TWO = (f"0x{digit * 32}" for digit in "ab")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A store with the cache of an editable build; the file."""
    if not RTX.installed:
        pytest.skip(RTX.installed.reason)
    trt, log = library(RTX)
    monkeypatch.setattr(timing_cache, "library", lambda _: (Full(trt), log))
    machine = Machine(**{**this_machine().__dict__, "gpu": "NVIDIA A"})
    monkeypatch.setattr(timing_cache, "this_machine", lambda: machine)
    file = timing_cache.path(FULL, "11.4.0.106", tmp_path / "cache")
    file.parent.mkdir(parents=True)
    file.write_text(f"{TWO} 18 0.5\n{ONE} 7 0.25")
    return file


def test_what_a_cache_knows_is_a_table(cache, tmp_path):
    table = timing_cache.table(tmp_path)
    assert list(table.columns) == ["key", "tactic", "seconds"]
    assert list(table["key"]) == [ONE, TWO]
    assert list(table["tactic"]) == [7, 18]
    np.testing.assert_allclose(table["seconds"], [0.25e-3, 0.5e-3])


def test_a_fixed_kernel_is_kept_with_its_time(cache, tmp_path):
    timing_cache.choose(ONE, 99, tmp_path)
    assert list(timing_cache.table(tmp_path)["tactic"]) == [99, 18]
    assert sorted(cache.read_text().splitlines()) == [f"{ONE} 99 0.25", f"{TWO} 18 0.5"]


@pytest.mark.parametrize(
    ("key", "tactic", "said"),
    [
        ("0x" + "c" * 32, 1, f"The timing cache has no key '0x{'c' * 32}' (2 others). Take one from its table."),
        (ONE, 0, f"The timing cache did not take the tactic 0 for '{ONE}': the library gave no reason."),
    ],
)
def test_what_cannot_be_fixed_changes_nothing(cache, tmp_path, key, tactic, said):
    before = cache.read_text()
    with pytest.raises(InputError) as caught:
        timing_cache.choose(key, tactic, tmp_path)
    assert str(caught.value) == said
    assert cache.read_text() == before


def test_without_a_cache_it_is_said_how_to_get_one(cache, tmp_path):
    cache.write_text("")
    with pytest.raises(
        InputError, match=r"does not list its keys\. Build an engine with the option editable-timing-cache first"
    ):
        timing_cache.table(tmp_path)
    cache.unlink()
    with pytest.raises(
        InputError, match=r"^There is no timing cache of TensorRT 11\.4\.0\.106 for this machine's GPU in "
    ):
        timing_cache.table(tmp_path)


def test_the_library_has_the_members_that_a_table_is_made_of(config):
    trt, _ = library(RTX)
    cache = config.create_timing_cache(b"")
    assert cache.queryKeys() == []
    assert str(trt.TimingCacheKey.parse(ONE)) == ONE
    value = trt.TimingCacheValue(18, 0.5)
    assert (value.tacticHash, value.timingMSec) == (18, 0.5)
    assert cache.update(trt.TimingCacheKey.parse(ONE), value) is False  # a key that it does not know
    assert hasattr(trt.BuilderFlag, "EDITABLE_TIMING_CACHE")
