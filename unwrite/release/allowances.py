"""What a release may be published in spite of, if its publisher says so."""

from typing import Literal, get_args

Allowance = Literal["dirty", "stale", "altered", "paths", "unverified"]
ALLOWANCES: tuple[Allowance, ...] = get_args(Allowance)
