"""The kernel: how strongly each layer is edited, a triangular profile over the layers around one peak."""


def kernel_weight(
    layer: int, *, max_weight: float, max_weight_position: float, min_weight: float, min_weight_distance: float
) -> float:
    """Compute the edit strength λ of one layer.

    0 if |ℓ − p| > D, else λ_max + (λ_min − λ_max) · |ℓ − p| / D, with p = `max_weight_position` and
    D = `min_weight_distance`.

    Args:
        layer: ℓ, counted from 0.
        max_weight: λ at the peak.
        max_weight_position: p, in layers, not necessarily a whole number.
        min_weight: λ at distance D (a weight, not a fraction of the largest).
        min_weight_distance: D ≥ 0, in layers; 0 edits only layer p, if p is a whole number.

    Returns:
        λ(ℓ).

    Raises:
        ValueError: D is negative.
    """
    if min_weight_distance < 0:
        raise ValueError(f"min_weight_distance must be at least 0, got {min_weight_distance}")
    distance = abs(layer - max_weight_position)
    if distance > min_weight_distance:
        return 0.0
    if distance == 0:
        return max_weight
    far = distance / min_weight_distance
    return (1 - far) * max_weight + far * min_weight  # exact at both ends
