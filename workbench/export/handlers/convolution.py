"""Convolutions in groups over volumes, which tf2onnx writes without their groups."""

from __future__ import annotations

from typing import Any

from tf2onnx.handler import tf_op
from tf2onnx.onnx_opset.nn import ConvOp


@tf_op("Conv3D")
class Conv3D:
    @classmethod
    def version_17(cls, ctx: Any, node: Any, **more: Any) -> None:
        last = node.attr["data_format"].s.decode().endswith("C")
        shape, kernel = (ctx.get_shape(name) for name in node.input[:2])
        channels, taken = shape[-1 if last else 1], kernel[-2]
        ConvOp.any_version(13, ctx, node, **more)
        node.set_attr("group", channels // taken if channels > 0 and taken > 0 else 1)
