"""Families of encoders that run without padding: the names of their parameters and of the keys of a config.

A new family is one entry in `FAMILIES`. All of them are a BERT apart from names, the head, and what the
fields of Family tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

HeadActivation = Literal["tanh", "relu", "gelu"]


@dataclass(frozen=True)
class Family:
    """A family of encoders with a classification head."""

    architecture: str
    """Class in transformers."""
    embeddings: str
    """Module of the embeddings."""
    word: str
    """Table of word embeddings in `embeddings`; the next three as well."""
    position: str
    token_type: str | None
    norm: str
    layer: str
    """Module of a layer, with a place for its number."""
    modules: Mapping[str, str]
    """Names of the modules of a layer, by those of LAYER_MODULES."""
    head: tuple[str, str]
    """Linear layer that is applied to the first token, and the one that gives the logits."""
    activation: HeadActivation
    """Between both."""
    sizes: Mapping[str, str]
    """Keys of the config, by those of SIZES."""
    eps: str | float
    """Key of the epsilon of the norms, or the epsilon."""
    standard: Mapping[str, Any]
    """Values that these keys of a config must have, unless it omits them. Apart from them, only the sizes
    determine the model."""
    pads_shift_positions: bool = False
    """Whether positions start after the padding ID, and padding IDs have none."""
    projection: str | None = None
    """Linear layer from the embeddings to the hidden size, if their sizes differ."""
    relative_bias: str | None = None
    """Table of biases of the attention scores by the relative position of two tokens, as in MPNet."""
    unused: str = ""
    """Start of the names of parameters that checkpoints may contain but the classifier does not use."""


LAYER_MODULES = (
    *("query", "key", "value", "attention_output", "attention_norm"),
    *("intermediate", "output", "output_norm"),
)
SIZES = ("vocab", "hidden", "layers", "heads", "intermediate", "positions", "types", "embedding")

RELATIVE_BUCKETS = 32
"""Number of groups of relative positions in MPNet."""

_COMMON = {"quantization_config": None, "per_layer_config": None, "transformers_weights": None}
_SELF = ("query", "key", "value")

BERT = Family(
    architecture="BertForSequenceClassification",
    embeddings="bert.embeddings",
    word="word_embeddings",
    position="position_embeddings",
    token_type="token_type_embeddings",
    norm="LayerNorm",
    layer="bert.encoder.layer.{}",
    modules={
        **{name: f"attention.self.{name}" for name in _SELF},
        "attention_output": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "intermediate": "intermediate.dense",
        "output": "output.dense",
        "output_norm": "output.LayerNorm",
    },
    head=("bert.pooler.dense", "classifier"),
    activation="tanh",
    sizes={
        "vocab": "vocab_size",
        "hidden": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "intermediate": "intermediate_size",
        "positions": "max_position_embeddings",
        "types": "type_vocab_size",
    },
    eps="layer_norm_eps",
    standard={
        **_COMMON,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    },
)
"""Source: Devlin et al. 2019, arXiv:1810.04805."""

_ROBERTA = replace(
    BERT,
    architecture="RobertaForSequenceClassification",
    embeddings="roberta.embeddings",
    layer="roberta.encoder.layer.{}",
    head=("classifier.dense", "classifier.out_proj"),
    pads_shift_positions=True,
    unused="roberta.pooler.",
)
"""Source: Liu et al. 2019, arXiv:1907.11692."""

FAMILIES = {
    "bert": BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, architecture="XLMRobertaForSequenceClassification"),
    "camembert": replace(_ROBERTA, architecture="CamembertForSequenceClassification"),
    # Source: Song et al. 2020, arXiv:2004.09297.
    "mpnet": replace(
        _ROBERTA,
        architecture="MPNetForSequenceClassification",
        embeddings="mpnet.embeddings",
        token_type=None,
        layer="mpnet.encoder.layer.{}",
        modules={
            **BERT.modules,
            **{name: f"attention.attn.{name[0]}" for name in _SELF},
            "attention_output": "attention.attn.o",
            "attention_norm": "attention.LayerNorm",
        },
        sizes={name: key for name, key in BERT.sizes.items() if name != "types"},
        # Positions start after 1, whatever the padding ID is.
        standard={**BERT.standard, "pad_token_id": 1, "relative_attention_num_buckets": RELATIVE_BUCKETS},
        relative_bias="mpnet.encoder.relative_attention_bias",
        unused="mpnet.pooler.",
    ),
    # Source: Clark et al. 2020, arXiv:2003.10555.
    "electra": replace(
        BERT,
        architecture="ElectraForSequenceClassification",
        embeddings="electra.embeddings",
        layer="electra.encoder.layer.{}",
        head=("classifier.dense", "classifier.out_proj"),
        activation="gelu",
        sizes={**BERT.sizes, "embedding": "embedding_size"},
        projection="electra.embeddings_project",
    ),
    # Source: Sanh et al. 2019, arXiv:1910.01108.
    "distilbert": Family(
        architecture="DistilBertForSequenceClassification",
        embeddings="distilbert.embeddings",
        word="word_embeddings",
        position="position_embeddings",
        token_type=None,
        norm="LayerNorm",
        layer="distilbert.transformer.layer.{}",
        modules={
            **{name: f"attention.{name[0]}_lin" for name in _SELF},
            "attention_output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "intermediate": "ffn.lin1",
            "output": "ffn.lin2",
            "output_norm": "output_layer_norm",
        },
        head=("pre_classifier", "classifier"),
        activation="relu",
        sizes={
            "vocab": "vocab_size",
            "hidden": "dim",
            "layers": "n_layers",
            "heads": "n_heads",
            "intermediate": "hidden_dim",
            "positions": "max_position_embeddings",
        },
        eps=1e-12,
        standard={**_COMMON, "activation": "gelu"},
    ),
}
"""Families by `model_type` in the config."""
