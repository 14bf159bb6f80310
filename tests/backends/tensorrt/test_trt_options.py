"""Options of a build by name, for each flavour."""

import pytest

from workbench.backends.tensorrt import options
from workbench.backends.tensorrt.flavours import FULL, RTX, Flavour, library
from workbench.backends.tensorrt.options import OPTIONS, refusal, targets
from workbench.errors import BuildError


@pytest.mark.parametrize("name", OPTIONS)
def test_the_full_library_has_every_option(name):
    assert refusal([name], FULL, gpu=True)


@pytest.mark.parametrize(
    ("name", "gpu", "reason"),
    [
        ("version-compatible", True, "it has no lean runtime"),
        ("hardware-compatible", True, "takes a list of GPU generations instead"),
        ("same-compute-capability", True, "takes a list of GPU generations instead"),
        ("editable-timing-cache", True, "the member is there and does nothing"),
        ("error-on-timing-cache-miss", True, "the member is there and does nothing"),
        ("refit", False, "needs an NVIDIA GPU to build"),
        ("strip-plan", False, "needs an NVIDIA GPU to build"),
        ("target=CURRENT", False, "means this machine's GPU, and this machine has none"),
        ("target=Ada", True, "'Ada' is not a GPU generation"),
        ("faster", True, "there is no option 'faster'"),
    ],
)
def test_rtx_refuses_with_reason_and_fix(name, gpu, reason):
    able = refusal([name], RTX, gpu=gpu)
    assert not able
    assert reason in able.reason
    assert able.fix


@pytest.mark.parametrize("names", ["weight-streaming", "target=SM89", "refit target=SM89", "strip-plan target=CURRENT"])
def test_rtx_takes_the_rest_where_there_is_a_gpu(names):
    assert refusal(names.split(), RTX, gpu=True)


@pytest.mark.parametrize("names", ["refit", "strip-plan target=SM86 target=SM89"])
def test_rtx_builds_some_options_for_one_target_only(names):
    able = refusal(names.split(), RTX, gpu=True)
    assert "for one GPU generation only" in able.reason
    assert able.fix == "add target=CURRENT"


def test_the_full_library_takes_no_target():
    assert refusal(["target=SM89"], FULL, gpu=True).fix == "use hardware-compatible"


def test_an_option_that_came_later_is_refused_by_version():
    class Old(Flavour):
        version = (10, 3, 0)

    old = Old("", "tensorrt", "TensorRT", ("tensorrt",), "pip install tensorrt")
    able = refusal(["same-compute-capability"], old, gpu=True)
    assert able.reason == "TensorRT has the option 'same-compute-capability' from 10.9 on, and this is 10.3"
    able = refusal(["editable-timing-cache"], old, gpu=True)
    assert able.reason == "TensorRT has the option 'editable-timing-cache' from 10.8 on, and this is 10.3"
    assert refusal(["error-on-timing-cache-miss"], old, gpu=True)


def test_targets_are_named_or_the_usual_ones():
    assert targets(["refit"]) == options.TARGETS
    assert targets(["target=SM75", "refit", "target=SM121"]) == ("SM75", "SM121")


@pytest.fixture
def rtx():
    if not RTX.installed:
        pytest.skip(RTX.installed.reason)
    trt, log = library(RTX)
    builder = trt.Builder(log)
    return trt, builder.create_builder_config(), builder


def test_options_reach_the_configuration(rtx):
    trt, config, _ = rtx
    options.apply(trt, config, ["weight-streaming", "strip-plan", "target=SM75", "target=SM120"])
    assert config.get_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    assert config.get_flag(trt.BuilderFlag.STRIP_PLAN)
    assert not config.get_flag(trt.BuilderFlag.REFIT)
    found = [config.get_compute_capability(place).name for place in range(config.num_compute_capabilities)]
    assert found == ["SM75", "SM120"]


def test_every_flag_is_a_member_of_the_library(rtx):
    trt, _, _ = rtx
    for option in OPTIONS.values():
        if option.weak:
            assert not hasattr(trt.BuilderFlag, option.flag)
            continue
        assert (
            hasattr(trt.BuilderFlag, option.flag)
            if option.flag
            else hasattr(trt.HardwareCompatibilityLevel, option.level)
        )


def test_a_target_that_the_library_does_not_know_lists_those_that_it_does(rtx):
    trt, config, _ = rtx
    with pytest.raises(BuildError, match=r"cannot build for 'SM33'\. Choose from: CURRENT, SM75, SM80"):
        options.apply(trt, config, ["target=SM33"])


def test_a_member_that_is_missing_is_refused_by_name():
    class Library:
        __version__ = "10.0.1"

        class BuilderFlag:
            REFIT = 1

    class Config:
        pass

    with pytest.raises(BuildError, match=r"^TensorRT 10\.0\.1 has no option 'weight-streaming'\. Leave it out\.$"):
        options.apply(Library, Config(), ["weight-streaming"])


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("version-compatible", "VERSION_COMPATIBLE"),
        ("editable-timing-cache", "EDITABLE_TIMING_CACHE"),
        ("error-on-timing-cache-miss", "ERROR_ON_TIMING_CACHE_MISS"),
        ("weight-streaming", "WEIGHT_STREAMING"),
        ("refit", "REFIT"),
        ("strip-plan", "STRIP_PLAN"),
    ],
)
def test_an_option_sets_its_flag_and_no_other(rtx, name, flag):
    trt, config, _ = rtx
    before = config.flags
    options.apply(trt, config, [name])
    assert config.flags == before | 1 << int(trt.BuilderFlag.__members__[flag])


@pytest.mark.parametrize(
    ("name", "level"),
    [("hardware-compatible", "AMPERE_PLUS"), ("same-compute-capability", "SAME_COMPUTE_CAPABILITY")],
)
def test_a_level_of_compatibility_is_set_and_no_flag(rtx, name, level):
    """On a configuration that keeps what it is given: that of TensorRT for RTX ignores the setting."""
    trt, _, _ = rtx

    class Config:
        hardware_compatibility_level = trt.HardwareCompatibilityLevel.NONE

    config = Config()
    options.apply(trt, config, [name])
    assert config.hardware_compatibility_level == trt.HardwareCompatibilityLevel.__members__[level]


def test_two_levels_of_compatibility_are_refused():
    able = refusal(["refit", "hardware-compatible", "same-compute-capability"], FULL, gpu=True)
    assert able.reason == "'hardware-compatible' and 'same-compute-capability' are two levels of the same setting"
    assert able.fix == "leave out the option 'same-compute-capability'"


def test_a_library_put_together_from_files_has_the_version_that_its_module_states(tmp_path, monkeypatch):
    folder = tmp_path / "trt_from_files"
    folder.mkdir()
    (folder / "__init__.py").write_text('import not_there\n\n__version__ = "8.6.1"\n', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    flavour = Flavour("", "trt_from_files", "TensorRT", ("a-distribution-that-is-not-installed",), "")
    assert flavour.version == (8, 6, 1)
    assert "10" in refusal(["weight-streaming"], flavour, gpu=True).reason
