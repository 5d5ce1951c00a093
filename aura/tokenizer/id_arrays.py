"""The type of ids in an array, apart from the tokenizer, which encodes a line without the 0.1 s that NumPy takes."""

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
