"""The zoo of tiny models that the tests take their architectures from."""

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from tests.support.zoo import LEFT_OUT, ZOO


def test_every_model_type_of_transformers_is_in_the_zoo_or_left_out_for_a_reason() -> None:
    in_zoo = {model_type for model_type, _ in ZOO.values()}
    assert not in_zoo & set(LEFT_OUT)
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    assert known - in_zoo - set(LEFT_OUT) == set()
