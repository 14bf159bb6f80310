"""Settings of the model and of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workbench.settings.declared import declared
from workbench.settings.kinds import Place, Text
from workbench.settings.pixels import scaling
from workbench.settings.shapes import parse_shapes, parse_values


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the model and its inputs."""

    GROUP: ClassVar[str] = "Model"

    model: str = declared(Place(
        default="demo",
        help='the built-in "demo", or the path of a .keras, .h5, .pb, .tflite or .onnx file or of a SavedModel folder',
        condition=False,  # a model is identified by its content
    ))  # fmt: skip
    signature: str = declared(Text(
        help="signature of a SavedModel, or the input and output tensors of a frozen graph",
        example="x:0 -> y:0",
        empty="the signature made for inference",
    ))  # fmt: skip
    input_shapes: str = declared(Text(
        label="Input sizes",
        help="sizes of the inputs by name; ? is the batch, min..opt..max a range",
        example="x:?x3x48x32..320..640",
        empty="as declared",
        check=parse_shapes,
    ))  # fmt: skip
    input_values: str = declared(Text(
        help="values of generated inputs by name, a number or low..high each",
        example="sr=16000; ids=0..999",
        empty="small values",
        check=parse_values,
    ))  # fmt: skip


@dataclass(frozen=True)
class DataSettings:
    """Settings of the samples and how they are read."""

    GROUP: ClassVar[str] = "Data"

    data: str = declared(Place(
        default="auto",
        help='"auto", "digits", "random", or the path of an .npz or .csv file or of a folder of images',
    ))  # fmt: skip
    pixels: str = declared(Text(
        default="auto",
        help="folder of images: the range that pixel values are scaled to, or imagenet; auto: 0..1, 0..255 for a model that is seen to scale them itself, and unchanged for integer inputs",
        example="-1..1",
        check=scaling,
    ))  # fmt: skip
    label_column: str = declared(Text(
        help="array or column of the data that holds the labels",
        example="species",
        empty="y, label or labels",
    ))  # fmt: skip
    group_column: str = declared(Text(
        help="array or column of the data that names the group of each sample, such as the patient or the recording",
        empty="no loss by group",
    ))  # fmt: skip
