"""NumPy array types used in signatures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
TokenArray = Int32Array
"""Token IDs."""
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
ObjectArray = npt.NDArray[np.object_]
"""Python objects, such as strings."""
