"""The format of figures, wherever a person reads them."""


def percent(share: float) -> str:
    """Return a share in percent: "97.0 %"."""
    return f"{100 * share:.1f} %"


def nats(kl: float) -> str:
    """Return a divergence to three digits: "0.0123 nats"."""
    return f"{kl:.3g} nats"
