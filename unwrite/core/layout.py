"""How a parameter holds its matrices [d, k]: one or many, hidden axis first, last or in between; as views, not copies.

============ ====== ================ ==========================
shape        axis   num_matrices     found in
============ ====== ================ ==========================
[d, k]       0      1                linear layers
[k, d]       1      1                GPT-2's Conv1D
[G·k, d]     1      G                flat experts
[G, d, k]    1      G                fused experts
[G, k, d]    2      G                fused experts, transposed
[d, G, k]    0      G                experts side by side
============ ====== ================ ==========================

`axis` is the hidden axis; the first of the other axes counts the matrices.
"""

from torch import Tensor


def as_matrices(tensor: Tensor, axis: int, num_matrices: int) -> Tensor:
    """Return the matrices of a weight, hidden axis first.

    Args:
        tensor: a weight in one of the shapes above.
        axis: its hidden axis.
        num_matrices: how many matrices it holds.

    Returns:
        The matrices, [num_matrices, d, k]: a view, so writing to it writes to the weight.

    Raises:
        ValueError: the tensor does not have that axis, or does not hold that many matrices.
    """
    shape = list(tensor.shape)
    if tensor.ndim in {2, 3} and 0 <= axis < tensor.ndim and num_matrices > 0:
        counted = 1 if axis == 0 else 0
        if tensor.ndim == 2 and shape[counted] % num_matrices == 0:
            split = tensor.view([*shape[:counted], num_matrices, shape[counted] // num_matrices, *shape[counted + 1 :]])
            return split.movedim(axis + (counted < axis), 1)
        if tensor.ndim == 3 and shape[counted] == num_matrices:
            return tensor.movedim(axis, 1)
    raise ValueError(f"a weight must hold {num_matrices} matrices with hidden axis {axis}, got shape {shape}")


def as_vectors(tensor: Tensor, axis: int) -> Tensor:
    """Return the vectors of a bias.

    Args:
        tensor: a bias [d], or one vector per expert: [G, d] or [d, G].
        axis: its hidden axis.

    Returns:
        The vectors, [G, d], G being 1 for a single one: a view, so writing to it writes to the bias.

    Raises:
        ValueError: the tensor does not have that axis.
    """
    if tensor.ndim not in {1, 2} or not 0 <= axis < tensor.ndim:
        raise ValueError(f"a bias must hold vectors along axis {axis}, got shape {list(tensor.shape)}")
    return tensor.unsqueeze(0) if tensor.ndim == 1 else tensor.movedim(axis, 1)
