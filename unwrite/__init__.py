"""unwrite: find the direction that carries a behaviour, remove it from the weights, measure what that did."""
