"""Non-maximum suppression as ONNX has it, behind a network.

ONNX's own operation, which every runtime knows, gives image, class and place of the boxes that stay, class by class;
then they are gathered, filled up with zeros, and the best are taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# names in capitals, which PyTorch's exporter does not give
_NODES = """
    CORNERS, PROBABILITIES = Split <axis = 2> (outputs, PARTS)
    BY_CLASS = Transpose <perm = [0, 2, 1]> (PROBABILITIES)
    CHOSEN = NonMaxSuppression (CORNERS, BY_CLASS, MOST, IOU, ABOVE)
    SCORES = GatherND (BY_CLASS, CHOSEN)
    IMAGE, LABEL, PLACE = Split <axis = 1, num_outputs = 3> (CHOSEN)
    CORNERS_OF_ONE = Squeeze (CORNERS, FIRST)
    PLACES = Squeeze (PLACE, SECOND)
    EDGES = Gather <axis = 0> (CORNERS_OF_ONE, PLACES)
    SCORE_COLUMN = Unsqueeze (SCORES, SECOND)
    LABEL_COLUMN = Cast <to = 1> (LABEL)
    ROWS = Concat <axis = 1> (EDGES, SCORE_COLUMN, LABEL_COLUMN)
    FILLED = Pad (ROWS, ROWS_BELOW)
    FILLED_SCORES = Pad (SCORES, SCORES_BELOW)
    BEST, ORDER = TopK (FILLED_SCORES, MOST)
    TABLE = Gather <axis = 0> (FILLED, ORDER)
    boxes = Unsqueeze (TABLE, FIRST)
"""


def with_boxes(network: Any, above: float, iou: float, most: int) -> Any:
    """Return the ``onnx.ModelProto`` whose output is the table ``boxes``, ``(1, most, 6)``.

    Args:
        network: an ``onnx.ModelProto`` for one image, ``images`` to ``outputs``, ``(1, N, 4 + classes)``.
        above: a score must be greater.
        iou: overlap above which the better one of two boxes of a class stays.
        most: boxes.
    """
    from onnx import compose, numpy_helper, parser

    _, count, width = (side.dim_value for side in network.graph.output[0].type.tensor_type.shape.dim)
    (opset,) = (one.version for one in network.opset_import if not one.domain)
    ending = parser.parse_model(
        f'<ir_version: {network.ir_version}, opset_import: ["": {opset}]> '
        f"ending (float[1, {count}, {width}] outputs) => (float[1, {most}, 6] boxes) {{{_NODES}}}"
    )
    constants = {
        "PARTS": np.array([4, width - 4]),
        "MOST": np.array([most]),
        "IOU": np.array([iou], np.float32),
        "ABOVE": np.array([above], np.float32),
        "FIRST": np.array([0]),
        "SECOND": np.array([1]),
        "ROWS_BELOW": np.array([0, 0, most, 0]),
        "SCORES_BELOW": np.array([0, most]),
    }
    ending.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return compose.merge_models(network, ending, io_map=[("outputs", "outputs")])
