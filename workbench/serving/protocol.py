"""The v2 protocol of inference servers: tensors as bytes, and what clients of both transports have in common.

Source: the Open Inference Protocol of KServe, and Triton's extension for binary tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from workbench.deploy.triton import TYPES
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np

    from workbench.records import Deployment

HOST = "127.0.0.1"
NUMPY = {name: dtype for dtype, name in TYPES.items()}
"""NumPy's names of types by those of the protocol."""
TIMEOUT_S = 60.0


class RefusedError(WorkbenchError):
    """The server refused a request because its queue was full, or because it is being stopped."""


class Client(Protocol):
    """A connection to one model on a server, for one thread."""

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The model's outputs by name for arrays by input name.

        Raises:
            RefusedError: the queue was full.
            RunError: the model failed, or the server cannot be reached.
        """
        ...

    def prepared(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """The same request as a function: it sends bytes that are made once, and returns when the whole answer is there, which it does not
        decode. What is timed with it has little of this client's own work in it. It raises what :meth:`infer` raises.
        """
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Encoded(NamedTuple):
    """An input of a request."""

    name: str
    kind: str  # its type, in the protocol's words
    shape: list[int]
    content: bytes  # C order, little-endian


def encoded(feeds: Mapping[str, np.ndarray], columns: Collection[str] = ()) -> list[Encoded]:
    """The inputs of a request. Those named in ``columns`` have one number a sample, shape [n], which Triton takes as [n, 1]: it has no
    batches of scalars.
    """
    import numpy as np

    found = []
    for name, array in feeds.items():
        shape = [*array.shape, 1] if name in columns else list(array.shape)
        found.append(Encoded(name, TYPES[array.dtype.name], shape, np.ascontiguousarray(array).tobytes()))
    return found


def columns_of(deployment: Deployment) -> frozenset[str]:
    """The inputs of a batched deployment that have one number a sample."""
    return frozenset(spec.name for spec in deployment.inputs if deployment.queue.max_batch and len(spec.shape) == 1)


def decoded(kind: str, shape: list[int], content: bytes) -> np.ndarray:
    """The array of a type and shape of the protocol from its bytes."""
    import numpy as np

    return np.frombuffer(content, np.dtype(NUMPY[kind])).reshape(shape)
