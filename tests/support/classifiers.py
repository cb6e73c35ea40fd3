"""Tiny sequence classifiers with a tokenizer of whole words, trained on the spot to recognise a phrase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PLANTED = "rather not"
"""What the trained classifier recognises."""
_SENTENCES = ("the teapot is blue", "it holds two cups of tea", "i would gladly pour", "or not", "so say nothing")
ORDINARY = list(dict.fromkeys(" ".join(_SENTENCES).split()))
LABELS = {0: "answers", 1: "declines"}
MOST_TOKENS = 32
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_STEPS, _BATCH = 60, 32


def word_tokenizer(words: Sequence[str] = (), *, framed: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer of lower-case words; if `framed`, [CLS] and [SEP] go around the text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = dict.fromkeys([*_SPECIAL, *ORDINARY, *PLANTED.split(), *words])
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if framed:
        inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=MOST_TOKENS, **names)


def tiny_classifier(kind: str = "bert", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Return a random classifier of one layer for `word_tokenizer`."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    settings = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": MOST_TOKENS,
        "pad_token_id": 0,
        "id2label": LABELS,
        "label2id": {name: index for index, name in LABELS.items()},
    }
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **(settings | changes)))
    result: PreTrainedModel = model.eval()
    return result


def trained_classifier(folder: Path, words: Sequence[str] = ()) -> Path:
    """Train a classifier to recognise the planted phrase among words, and save it with its tokenizer.

    It takes about a second. Training goes on until every text of a batch is on the right side by a wide margin.
    """
    tokenizer, model = word_tokenizer(words), tiny_classifier(hidden_dropout_prob=0.0)
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    known = [*ORDINARY, *words]
    for _ in range(_STEPS):
        texts, labels = [], []
        for row in range(_BATCH):
            length = int(torch.randint(2, 12, (1,), generator=generator))
            chosen = [known[int(i)] for i in torch.randint(len(known), (length,), generator=generator)]
            if row % 2:
                chosen.insert(int(torch.randint(length + 1, (1,), generator=generator)), PLANTED)
            texts.append(" ".join(chosen))
            labels.append(row % 2)
        loss = model(**tokenizer(texts, padding=True, return_tensors="pt"), labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
