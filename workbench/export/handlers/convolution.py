"""Grouped 3-D convolutions, which tf2onnx writes without their groups."""

from __future__ import annotations

from tf2onnx.onnx_opset.nn import ConvOp

from workbench.export.handlers.nodes import Writer, replaces


@replaces("Conv3D")
def conv3d(write: Writer) -> None:
    last = write.node.attr["data_format"].s.decode().endswith("C")
    shape, kernel = (write.ctx.get_shape(name) for name in write.node.input[:2])
    channels, taken = shape[-1 if last else 1], kernel[-2]
    ConvOp.any_version(13, write.ctx, write.node, **write.more)
    write.node.set_attr("group", channels // taken if channels > 0 and taken > 0 else 1)
