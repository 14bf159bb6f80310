"""Options of an engine's build by name, and which flavour of TensorRT has them.

Whether a flavour has one can be asked without importing it (:func:`refusal`); at the build the library's own members
decide, never a version or a number of a flag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from workbench.backends.tensorrt.flavours import RTX, Flavour
from workbench.backends.tensorrt.weak_typing import STRONG
from workbench.errors import BuildError
from workbench.protocols import AVAILABLE, Availability, unavailable

TARGET = "target="
# Ampere to Blackwell. Naming several costs neither time nor size: kernels are compiled when the engine is loaded.
TARGETS = ("SM80", "SM86", "SM89", "SM120")


class Option(NamedTuple):
    """One option: the builder flag that it sets, or the level of compatibility."""

    help: str
    flag: str = ""  # a member of BuilderFlag
    level: str = ""  # a member of HardwareCompatibilityLevel
    since: tuple[int, ...] = (8, 6)  # of the full library
    weak: bool = False  # only where networks are weakly typed
    rtx: str = ""  # why TensorRT for RTX has no such thing, although some members are there
    rtx_gpu: bool = False  # TensorRT for RTX needs a GPU to build with it, and one target only


_NO_CACHE = "it keeps no timing cache: the member is there and does nothing"
OPTIONS = {
    "refit": Option(
        "built so that the next model of the same structure only has its weights replaced",
        flag="REFIT",
        since=(8, 5),
        rtx_gpu=True,
    ),
    "weight-streaming": Option(
        "weights may stay in host memory while the engine runs", flag="WEIGHT_STREAMING", since=(10, 0)
    ),
    "allow-fp16": Option(
        "TensorRT 8.x: layers that the model leaves in FP32 may compute in FP16", flag="FP16", since=(8, 5), weak=True
    ),
    "version-compatible": Option(
        "newer versions of TensorRT and the lean runtime open it",
        flag="VERSION_COMPATIBLE",
        rtx="it has no lean runtime to put into the engine",
    ),
    "hardware-compatible": Option(
        "runs on every GPU from Ampere on, more slowly",
        level="AMPERE_PLUS",
        rtx="it ignores that setting and takes a list of GPU generations instead, such as target=SM89",
    ),
    "same-compute-capability": Option(
        "runs on every GPU of this one's compute capability",
        level="SAME_COMPUTE_CAPABILITY",
        since=(10, 9),
        rtx="it ignores that setting and takes a list of GPU generations instead, such as target=SM89",
    ),
    "editable-timing-cache": Option(
        "the chosen kernels can be read and pinned", flag="EDITABLE_TIMING_CACHE", since=(10, 8), rtx=_NO_CACHE
    ),
    "error-on-timing-cache-miss": Option(
        "fail where a layer would have to be timed: the same kernels every time",
        flag="ERROR_ON_TIMING_CACHE_MISS",
        since=(10, 0),
        rtx=_NO_CACHE,
    ),
    "strip-plan": Option("leave the weights out of the engine's file", flag="STRIP_PLAN", since=(10, 0), rtx_gpu=True),
}
NEEDS_WEIGHTS = "an engine without its weights cannot be run before they are put back, which this version does not do"


def refusal(options: Iterable[str], flavour: Flavour, *, gpu: bool) -> Availability:
    """Whether ``flavour`` can build with these options, here."""
    asked = tuple(options)
    levels = [name for name in asked if name in OPTIONS and OPTIONS[name].level]
    if len(levels) > 1:
        found = " and ".join(f"'{name}'" for name in levels)
        return unavailable(f"{found} are two levels of the same setting", f"leave out the option '{levels[-1]}'")
    for name in asked:
        one_target = len(targets(asked)) == 1
        able = _target(name, flavour, gpu) if name.startswith(TARGET) else _option(name, flavour, gpu, one_target)
        if not able:
            return able
    return AVAILABLE


def _option(name: str, flavour: Flavour, gpu: bool, one_target: bool) -> Availability:
    option = OPTIONS.get(name)
    leave = f"leave out the option '{name}'"
    if option is None:
        return unavailable(f"there is no option '{name}'", f"choose from {', '.join(OPTIONS)}, {TARGET}SM89")
    if option.weak and (flavour == RTX or flavour.version >= STRONG):
        return unavailable(f"networks of {flavour.title} from 10.0 on take every layer's format from the model", leave)
    if flavour == RTX and option.rtx:
        return unavailable(f"{flavour.title} has no option '{name}': {option.rtx}", leave)
    if flavour == RTX and option.rtx_gpu and not gpu:
        return unavailable(f"{flavour.title} needs an NVIDIA GPU to build with the option '{name}'", leave)
    if flavour == RTX and option.rtx_gpu and not one_target:
        return unavailable(
            f"{flavour.title} builds with the option '{name}' for one GPU generation only", f"add {TARGET}CURRENT"
        )
    if flavour != RTX and flavour.version and flavour.version[: len(option.since)] < option.since:
        since, found = (".".join(map(str, numbers)) for numbers in (option.since, flavour.version[:2]))
        return unavailable(f"{flavour.title} has the option '{name}' from {since} on, and this is {found}", leave)
    return AVAILABLE


def _target(name: str, flavour: Flavour, gpu: bool) -> Availability:
    if flavour != RTX:
        return unavailable(
            f"{flavour.title} builds for the GPU it runs on, not for '{name}'", "use hardware-compatible"
        )
    target = name.removeprefix(TARGET)
    if not re.fullmatch(r"SM\d{2,3}|CURRENT", target):
        return unavailable(f"'{target}' is not a GPU generation", f"choose for example {TARGET}{TARGETS[0]}")
    if target == "CURRENT" and not gpu:
        return unavailable(
            "the target CURRENT means this machine's GPU, and this machine has none", f"name one, as {TARGET}SM89"
        )
    return AVAILABLE


def targets(options: Iterable[str]) -> tuple[str, ...]:
    """The GPU generations that TensorRT for RTX builds for."""
    return tuple(name.removeprefix(TARGET) for name in options if name.startswith(TARGET)) or TARGETS


def apply(trt: Any, config: Any, options: Iterable[str]) -> None:
    """Set the options on a builder's configuration.

    Raises:
        BuildError: the library at hand has no such member.
    """
    if hasattr(config, "num_compute_capabilities"):
        _set_targets(trt, config, targets(options))
    for name in options:
        option = OPTIONS.get(name)
        if option is None:
            continue
        kind = trt.BuilderFlag if option.flag else trt.HardwareCompatibilityLevel
        member = getattr(kind, option.flag or option.level, None)
        if member is None:
            raise BuildError(f"TensorRT {trt.__version__} has no option '{name}'. Leave it out.")
        if option.flag:
            config.set_flag(member)
        else:
            config.hardware_compatibility_level = member


def _set_targets(trt: Any, config: Any, names: tuple[str, ...]) -> None:
    known = [name for name in trt.ComputeCapability.__members__ if name != "NONE"]
    config.num_compute_capabilities = len(names)
    for place, name in enumerate(names):
        if name not in known or not config.set_compute_capability(trt.ComputeCapability.__members__[name], place):
            choices = ", ".join(known)
            raise BuildError(f"TensorRT for RTX {trt.__version__} cannot build for '{name}'. Choose from: {choices}.")
