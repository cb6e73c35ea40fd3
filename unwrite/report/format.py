"""How figures are written wherever a person reads them."""


def percent(share: float) -> str:
    """0.97 → "97.0 %"."""
    return f"{100 * share:.1f} %"


def nats(kl: float) -> str:
    """A divergence to three digits: "0.0123 nats"."""
    return f"{kl:.3g} nats"
