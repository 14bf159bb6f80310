"""What TensorRT's error texts mean: a phrase of each, the plain cause, and what to do.

Only phrases are matched, never files or lines, which change with every release. Texts were taken from TensorRT for RTX
1.7 as it failed, from strings inside the lean runtime 11.4, and from NVIDIA's documentation and public issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

LONGEST = 240


class Cause(NamedTuple):
    phrase: str  # a regular expression, searched for without regard to case; its groups fill {0}, {1} of the cause
    plain: str
    do: str


REBUILD = "build the engine again here"
SMALLER = "choose a smaller batch or model, or free the memory that other programs hold on the GPU"

CAUSES = (
    # loading a plan
    Cause(r"expecting library version (\S+) got (\S+?)[,.]? please", "the engine was built with TensorRT {1} and this is {0}", REBUILD),
    Cause(r"expecting compute (\S+) got compute (\S+?)[,.]? please", "the engine was built for compute capability {1} and this GPU has {0}", REBUILD),
    Cause(r"incompatible serialization version|kEXPECTED_MAGIC_TAG", "the file is not an engine of this library, or is one of another version", REBUILD),
    Cause(r"not compatible with this hardware-compatible engine", "this GPU is older than the engine allows", "build it on this GPU"),
    Cause(r"platform specific tag mismatch", "the engine was built on another operating system", REBUILD),
    Cause(r"plan\.header\.size == blobSize|plan file is (truncated|corrupt)", "the engine's file is incomplete", REBUILD),
    Cause(r"empty memory buffer", "the engine's file is empty", REBUILD),
    Cause(r"getEngineHostCodeAllowed\(\) is false", "a version-compatible engine holds code that was not allowed to run", "open it with the mode that built it"),
    Cause(r"old deserialization call on a newer plan", "the engine was built with a newer TensorRT", "upgrade TensorRT, or " + REBUILD),
    # parsing
    Cause(r"plugin not found|could not find plugin", "the model has a custom operator that needs a plugin", "replace the operator, or use another backend"),
    Cause(r"unsupported ONNX data type: (\w+)", "the model has tensors of the type {0}, which TensorRT does not know", "take them out of the model"),
    Cause(r"failed to convert ONNX dat\w type", "an input or output has a type that TensorRT does not know, such as text", "take it out of the model"),
    Cause(r"has type Int32 but must have type FP8", "a bias is quantized to INT32, which TensorRT does not take", "leave biases unquantized (QuantizeBias=False)"),
    Cause(r"non-zero zero point is not supported", "the quantization is asymmetric, and TensorRT takes symmetric INT8 only", "quantize with symmetric activations"),
    Cause(r"failed to parse the ONNX model", "the file is not an ONNX model", "export it again"),
    Cause(r"must be an initializer", "an input of an operator must be a constant and is computed", "fold constants in the model before"),
    Cause(r"must have same (?:input )?types?|must be of same type", "two formats meet in one operator, and TensorRT casts nothing by itself", "put a Cast between them"),
    # building
    Cause(r"within workspace limit|increasing the workspace size|sufficient workspace", "the workspace limit is too small for a layer", "raise 'workspace_mib', or leave it at 0 for automatic"),
    Cause(r"no optimization profile has been defined", "the model has dynamic shapes and no range was given for them", "give batches, and 'input_shapes' for other axes"),
    Cause(r"invalid optimization profiles for input tensors? ([^,]+)", "the sizes for '{0}' are not in the order smallest, usual, largest", "order them so"),
    Cause(r"dynamic input tensor (\S+) is missing dimensions", "no range of sizes was given for the input '{0}'", "give 'input_shapes' for it"),
    Cause(r"dimension mismatch for tensor (\S+) and profile", "the sizes given for '{0}' contradict the model's fixed ones", "give the model's own size there"),
    Cause(r"Cannot compile for target\(s\) ([\w ,]+?), because the model contains HW-specific datatypes: (\w+)", "the GPU generation {0} cannot compute in {1}", "name only targets that can, such as target=SM89 for FP8"),
    Cause(r"for Turing \(SM75\): (\S+ \S+) is not supported", "the GPU generation SM75 has no {0} here", "leave out target=SM75, or use FP16"),
    Cause(r"unable to load library: libnvinfer_lean", "version-compatible engines need the lean runtime, which is not installed", "leave out the option version-compatible"),
    Cause(r"BuildCanceled|canceled by user", "it was stopped on request", "start it again"),
    Cause(r"sm_vers_\.size\(\) == 1", "this kind of build is for one GPU generation only", "name one, such as target=SM89"),
    Cause(r"CUDA error 222 loading a module|Target SM \d+ is not found in the accelerator list", "this kind of build needs a GPU of the generation that it is for", "build it on such a GPU, or leave out the options refit and strip-plan"),
    Cause(r"graph_jit\.cpp\S* CHECK\(status == CUDA_SUCCESS\)", "this kind of build needs an NVIDIA GPU", "leave out the options refit and strip-plan, or build where there is a GPU"),
    Cause(r"could not find any implementation for node (.+?)(?:\.|$)", "no kernel was found for {0}: a type, a shape or the memory rules all out", "raise the workspace, or leave the layer in a higher precision"),
    Cause(r"kFP16 is not compatible with a strongly typed", "a precision flag was set on a strongly typed network", "choose the precision in the model"),
    Cause(r"not present in the timing cache|timing cache miss", "the timing cache does not know a layer, and the option error-on-timing-cache-miss forbids timing it", "leave out that option once to fill the cache"),
    # memory, driver and device
    Cause(r"not enough free memory|device memory is insufficient|insufficient memory on requested|out of memory", "the GPU's memory does not suffice", SMALLER),
    Cause(r"CUDA initialization failure with error: 100|cudaErrorNoDevice", "no NVIDIA GPU is visible to this process", "look at CUDA_VISIBLE_DEVICES, and in a container at --gpus"),
    Cause(r"error:? 35|error reading CUDA GPU properties", "the NVIDIA driver is older than this TensorRT needs", "update the driver"),
    # running
    Cause(r"does not satisfy any optimization profile|exceed min.*max range for profile", "a size lies outside the range that the engine was built for", "build it with that batch among the batches"),
    Cause(r"input tensors' dimensions are not specified: (.+?)(?:\.|$)", "the sizes of some inputs were not given ({0})", "give every input of the model"),
    Cause(r"address is not set for|neither address or allocator is set", "an input or output has no memory", "give every input of the model"),
    Cause(r"getMissingWeights", "not all weights were given when the engine was refitted", "give them all"),
    Cause(r"invalid resource handle|error:? 400", "a CUDA handle was refused (error 400): it belongs to another CUDA context, or could not be made", "look at the GPU's free memory with nvidia-smi; in code of your own use the primary context only, never pycuda.autoinit"),
)  # fmt: skip

NO_DRIVER = Cause("", "this machine has no NVIDIA driver, which this needs", "do it where there is an NVIDIA GPU")
# what follows from another error, or says only where in the library it was noticed
ECHOES = re.compile(r"catchCudaError|Parameter check failed", re.IGNORECASE)


def explain(errors: Iterable[str], *, driver: bool = True) -> str:
    """The plain cause of the first error text that is known, with what to do; else the first telling text itself.

    ``driver`` says whether an NVIDIA driver is there: CUDA's code 35 stands for an old one and for none.
    """
    texts = [" ".join(text.split()) for text in errors if text.strip()]
    telling = [text for text in texts if not ECHOES.search(text)]
    for text in (*telling, *texts):
        for cause in CAUSES:
            if found := re.search(cause.phrase, text, re.IGNORECASE):
                absent = not driver and "driver is older" in cause.plain
                plain, do = (NO_DRIVER.plain, NO_DRIVER.do) if absent else (cause.plain, cause.do)
                return f"{plain.format(*found.groups())}; {do}"
    if not texts:
        return "the library gave no reason"
    said = (telling or texts)[0]
    return (said if len(said) <= LONGEST else said[: LONGEST - 1] + "…").rstrip(". ")
