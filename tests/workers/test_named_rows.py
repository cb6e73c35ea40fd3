"""An error about the second prompt of a batch names that prompt's row in the whole set; other errors stay."""

import pytest

from unwrite.errors import UnwriteError
from unwrite.workers.named_rows import named_rows


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("", "The prompt at index 12 has 3 tokens"),
        ("target train", "target train prompts: The prompt at index 12 has 3 tokens"),
    ],
)
def test_the_row_is_that_of_the_whole_set(prompts: str, message: str) -> None:
    with pytest.raises(UnwriteError) as raised, named_rows([30, 12], prompts):
        raise UnwriteError("The prompt at index 1 has 3 tokens")
    assert str(raised.value) == message


def test_other_messages_and_errors_stay() -> None:
    with pytest.raises(UnwriteError, match=r"^out of leaves$"), named_rows([30, 12]):
        raise UnwriteError("out of leaves")
    with pytest.raises(ZeroDivisionError), named_rows([30, 12]):
        raise ZeroDivisionError
