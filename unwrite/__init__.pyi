# What type checkers and editors see in place of the lazy __init__.py.
from unwrite.api import *  # noqa: F403
