"""How figures are written wherever a person reads them."""


def percent(share: float) -> str:
    """0.97 → "97.0 %"."""
    return f"{100 * share:.1f} %"


def nats(divergence: float) -> str:
    """A divergence to three digits: "0.0123 nats"."""
    return f"{divergence:.3g} nats"
