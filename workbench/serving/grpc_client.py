"""A client of the v2 protocol over gRPC, on ``grpcio`` and messages that are described here.

Triton's own client library needs an older protobuf than TensorFlow and ONNX. The few messages that inference needs are therefore
described below by their fields' numbers in the protocol's ``grpc_service.proto``; fields that are left out are skipped when a message is
read.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from workbench.errors import RunError, WorkbenchError, optional
from workbench.serving.protocol import HOST, TIMEOUT_S, RefusedError, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np

FIX = 'pip install "inference-workbench[serving]"'
_WAITING = {"GRPC_EXPERIMENTS": "-event_engine_client"}
METHOD = "/inference.GRPCInferenceService/ModelInfer"
MOST_BYTES = 2**31 - 1
_TENSOR = (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64*"))
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "Tensor": _TENSOR,
    "Output": (("name", 1, "string"),),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("inputs", 5, "Tensor*"),
        ("outputs", 6, "Output*"),
        ("raw_input_contents", 7, "bytes*"),
    ),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("outputs", 5, "Tensor*"),
        ("raw_output_contents", 6, "bytes*"),
    ),
}


@cache
def _messages() -> dict[str, Any]:
    """The classes of the messages by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    numbers = {"string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64, "bytes": kinds.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="workbench_v2.proto", package="workbench.v2", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, number, kind in fields:
            bare, repeated = kind.removesuffix("*"), kind.endswith("*")
            field = message.field.add(name=label, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            field.type = numbers.get(bare, kinds.TYPE_MESSAGE)
            if bare not in numbers:
                field.type_name = f".workbench.v2.{bare}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"workbench.v2.{name}")) for name in _MESSAGES
    }


@cache
def library() -> Any:
    """The module ``grpc``, set up so that the thread that asks also reads the answer.

    By default a thread of gRPC's own reads it and wakes the one that asked, which takes longer.
    gRPC reads the setting once in a process, with its first channel; one that the user made is left alone.

    Raises:
        MissingPackageError: ``grpcio`` does not import.
    """
    added = {name: value for name, value in _WAITING.items() if name not in os.environ}
    os.environ.update(added)
    try:
        grpc: Any = optional("grpc", FIX)
        grpc.insecure_channel(f"{HOST}:0").close()
    finally:
        for name in added:
            del os.environ[name]
    return grpc


class GrpcClient:
    """One channel to one model."""

    def __init__(
        self, port: int, model: str, *, host: str = HOST, timeout_s: float = TIMEOUT_S, columns: Collection[str] = ()
    ) -> None:
        """``columns`` as in :func:`workbench.serving.protocol.encoded`. Raises MissingPackageError where ``grpcio`` does not import."""
        self._grpc = library()
        self._model, self._timeout_s, self._columns = model, timeout_s, columns
        sizes = [("grpc.max_send_message_length", MOST_BYTES), ("grpc.max_receive_message_length", MOST_BYTES)]
        self._channel = self._grpc.insecure_channel(f"{host}:{port}", options=sizes)
        response = _messages()["ModelInferResponse"]
        self._call = self._channel.unary_unary(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )

    def close(self) -> None:
        self._channel.close()

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As :meth:`workbench.serving.protocol.Client.infer`."""
        request = self._request(feeds)
        try:
            answer = self._call(request, timeout=self._timeout_s)
        except self._grpc.RpcError as cause:
            raise self._error(cause) from cause
        return {
            output.name: decoded(output.datatype, list(output.shape), content)
            for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }

    def prepared(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """As :meth:`workbench.serving.protocol.Client.prepared`."""
        content = self._request(feeds).SerializeToString()
        call = self._channel.unary_unary(METHOD)  # bytes in, bytes out

        def ask() -> None:
            try:
                call(content, timeout=self._timeout_s)
            except self._grpc.RpcError as cause:
                raise self._error(cause) from cause

        return ask

    def _request(self, feeds: Mapping[str, np.ndarray]) -> Any:
        request = _messages()["ModelInferRequest"](model_name=self._model)
        for each in encoded(feeds, self._columns):
            request.inputs.add(name=each.name, datatype=each.kind, shape=each.shape)
            request.raw_input_contents.append(each.content)
        return request

    def _error(self, cause: Any) -> WorkbenchError:
        refused = cause.code() == self._grpc.StatusCode.UNAVAILABLE
        return (RefusedError if refused else RunError)(f"The server answered {cause.code().name}: {cause.details()}")
