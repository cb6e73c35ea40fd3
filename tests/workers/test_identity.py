"""What must be the same in every worker is compared, and a difference is named."""

from pathlib import Path

import torch
import transformers

import unwrite
from unwrite.workers.identity import Identity, code_sum, difference, own_identity

HERE = Identity("3.11", "2.7.1", "5.18.0", "0.2.0", "a" * 64)


def test_the_identity_is_what_runs_here() -> None:
    own = own_identity()
    assert (own.torch, own.transformers) == (torch.__version__.split("+")[0], transformers.__version__) or (
        own.torch == torch.__version__
    )
    assert own.code == code_sum(Path(str(unwrite.__file__)).parent)


def test_equal_identities_do_not_differ() -> None:
    assert difference(HERE, HERE) is None
    assert difference(HERE, HERE._replace(unwrite="none")) is None  # a clone that is not installed


def test_each_difference_is_named() -> None:
    assert difference(HERE, HERE._replace(torch="2.6.0")) == "torch 2.6.0, and this process has 2.7.1"
    assert difference(HERE, HERE._replace(transformers="none")) == "transformers none, and this process has 5.18.0"
    assert difference(HERE, HERE._replace(python="3.12")) == "python 3.12, and this process has 3.11"
    older = HERE._replace(unwrite="0.1.0", code="b" * 64)
    assert difference(HERE, older) == "unwrite 0.1.0, and this process has 0.2.0"
    edited = difference(HERE, HERE._replace(code="b" * 64))
    assert edited == "other code of unwrite (bbbbbbbbbbbb…) than this process (aaaaaaaaaaaa…)"


def test_the_sum_of_code_changes_with_names_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("x = 1\n")
    before = code_sum(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert code_sum(tmp_path) == before
    (tmp_path / "one.py").rename(tmp_path / "two.py")
    assert code_sum(tmp_path) != before
