"""Small tokenizers of every kind, difficult texts, and a comparison of the encoder with the tokenizer."""

from __future__ import annotations

from functools import cache
from typing import Any

import pyarrow as pa
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from tokenizers import normalizers as norm

from pipeline.ingest.tokenize.encode import Encoder, PlainEncoder

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~éüñçσςßİ中文字가한ひカ😊½"
WORDS = ["good", "shirt", "the", "york", "new", "sep", "mask", "cat", "##s", "##ing", "New", "York"]
VOCABULARY = {
    token: i
    for i, token in enumerate(
        dict.fromkeys([*SPECIAL, *WORDS, *CHARACTERS, *CHARACTERS.upper(), *(f"##{c}" for c in CHARACTERS)])
    )
}

NORMALIZERS: dict[str, Any] = {
    "none": None,
    "uncased": norm.BertNormalizer(),
    "cased": norm.BertNormalizer(lowercase=False),
    "accents": norm.BertNormalizer(strip_accents=False),
    "dirty": norm.BertNormalizer(clean_text=False, handle_chinese_chars=False),
    "cased dirty": norm.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False
    ),
    "nfc": norm.Sequence([norm.NFC(), norm.Lowercase()]),
    "nfkc": norm.NFKC(),
    "nfd": norm.Sequence([norm.NFD(), norm.StripAccents(), norm.Lowercase()]),
    "nfkd": norm.Sequence([norm.NFKD(), norm.Sequence([norm.Lowercase()])]),
}
SPLITTERS: dict[str, Any] = {
    "bert": pre_tokenizers.BertPreTokenizer(),
    "whitespace": pre_tokenizers.Whitespace(),
    "split": pre_tokenizers.WhitespaceSplit(),
    "both": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.BertPreTokenizer()]),
}
MODELS: dict[str, Any] = {
    "wordpiece": models.WordPiece(VOCABULARY, unk_token="[UNK]"),
    "short words": models.WordPiece(VOCABULARY, unk_token="[UNK]", max_input_chars_per_word=4),
    "wordlevel": models.WordLevel(VOCABULARY, unk_token="[UNK]"),
    "bpe": models.BPE(VOCABULARY | {"ne": 900, "or": 901}, [("n", "e"), ("o", "r")], unk_token="[UNK]"),
}
PROCESSORS: dict[str, Any] = {
    "none": None,
    "template": processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    ),
    "long template": processors.TemplateProcessing(
        single="[CLS] [MASK] $A:0 [SEP] [CLS] [PAD]",
        special_tokens=[
            {"id": "[CLS]", "ids": [2, 9], "tokens": ["[CLS]", "x"]},
            ("[MASK]", 4),
            ("[SEP]", 3),
            ("[PAD]", 0),
        ],
    ),
    "suffix": processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)]),
    "bert": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "roberta": processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
}
ADDED: dict[str, list[AddedToken]] = {
    "none": [],
    "bert's": [AddedToken(t, special=True, normalized=False) for t in SPECIAL],
    "mpnet's": [
        AddedToken("<s>", special=True, normalized=True),
        AddedToken("</s>", special=True, normalized=False),
        AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    ],
    "words": [AddedToken("covid"), AddedToken("Shirt"), AddedToken("中文"), AddedToken("éx")],
    "marks": [AddedToken("covid-19"), AddedToken("[br]", normalized=False), AddedToken("...")],
    "with white space": [AddedToken("new york"), AddedToken("New York", normalized=False)],
    "between marks": [AddedToken("=CLS="), AddedToken("[ SEP ]", normalized=False)],
    "single words": [AddedToken("dog", single_word=True), AddedToken("cow", single_word=True, lstrip=True)],
    "stripping": [
        AddedToken("lamp", lstrip=True, rstrip=True),
        AddedToken("desk", rstrip=True, normalized=False),
    ],
    "an accent after another token": [AddedToken("\u0301 y"), AddedToken("ae", normalized=False)],
}
UNDETECTABLE: dict[str, list[AddedToken]] = {
    "only white space": [AddedToken("  ", normalized=False)],
    "empty after normalization": [AddedToken("\u0301")],
}

HARD = [
    "",
    " \t\r\n",
    # BERT removes form feed and vertical tab as control characters.
    "shirt\x0bgood good\x0cshirt sh\x00irt\u200bs",
    "good\x85shirt\xa0the\u2003cat\u3000new\u2028york\x1ccat",
    # Combining characters, and letters of several code points.
    "a=\u0338b >\u0338 e\u0301 \u0301x \u1100 \u1161 \u1100\u1161",
    "a\u0316\u0300 a\u0300\u0316 ≠CLS≠ ≠cls≠ ﬁﬂ½ İ Σς ß",
    "[SEP] [ SEP ] [SEP ] [ SEP] [S\x00EP] [sep] [[SEP]] x[CLS]y[MASK]",
    "New York new york NEW\x01 york new\nyork new  york new york,York",
    "_dog dog_ cow_ dog's-cow cow hotdog",
    "lamp \x0c desk\xa0lamp desk \x0b\xa0 shirt lamplamp",
    "x \x0c<mask> y<mask>\x0b <mask><s> </s>",
    "covid-19 covid -19 Covid... ... .. . covid",
    "ae\u0341 y e y ae y ae\u0301x",
    "中文 中 a中b 가 ひらがな 😊😊 👩\u200d👩\u200d👧",
    "a" * 100 + " " + "b" * 101 + " " + "é" * 101 + "!" * 300,
]


@cache
def tokenizer_json(normalizer: str, splitter: str, model: str, processor: str, added: str) -> str:
    tokenizer = Tokenizer(MODELS[model])
    if NORMALIZERS[normalizer] is not None:
        tokenizer.normalizer = NORMALIZERS[normalizer]
    tokenizer.pre_tokenizer = SPLITTERS[splitter]
    if PROCESSORS[processor] is not None:
        tokenizer.post_processor = PROCESSORS[processor]
    tokenizer.add_tokens((ADDED | UNDETECTABLE)[added])
    tokenizer.enable_padding(length=8)
    return str(tokenizer.to_str())


@cache
def both(tokenizer: str, max_length: int, side: Any) -> tuple[Encoder, PlainEncoder]:
    """Encoders shared by all examples, so that the word cache contains words of earlier ones."""
    return Encoder(tokenizer, max_length, side), PlainEncoder(tokenizer, max_length, side)


def check(tokenizer: str, max_length: int, side: Any, rows: list[str]) -> None:
    ours, plain = both(tokenizer, max_length, side)
    column = pa.array(rows, pa.string())
    actual, expected = ours(column), plain(column)
    assert actual.to_pylist() == expected.to_pylist()
    assert actual.schema == expected.schema
