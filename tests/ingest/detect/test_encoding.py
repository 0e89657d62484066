"""Encodings of text files: by setting, by byte order mark, by NUL bytes, or guessed with a warning."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import InputConfig
from pipeline.errors import InputError, SettingError
from pipeline.ingest.clean.labels import label_scheme
from pipeline.ingest.clean.rows import Kept, Recipe, keep_lines
from pipeline.ingest.detect.records import Sample
from pipeline.ingest.detect.sample import read_sample
from pipeline.ingest.read.chunks import read_chunks
from pipeline.settings import load_config
from pipeline.storage.location import locate
from tests.detection import detect_format

RECIPE = Recipe(" ", 32, verified_only=False, scheme=label_scheme("stars"))
TEXTS = {
    "cp1252": "It’s “fine” – très déçu, die Größe paßt, señor…",
    "cp1250": "Bardzo dobra jakość, szybka dostawa. Książka jest świetna, polecam każdemu, ręczę.",
    "cp1251": "Очень хороший товар, быстрая доставка, рекомендую всем.",
    "cp1253": "Πολύ καλό προϊόν, γρήγορη παράδοση, το συνιστώ σε όλους.",
    "koi8_r": "Очень хороший товар, быстрая доставка, рекомендую всем.",
    "cp1255": "מוצר מצוין, משלוח מהיר, ממליץ לכולם. האיכות טובה מאוד והמחיר נמוך.",
    "cp1256": "منتج ممتاز جدا والتوصيل سريع وأنصح به للجميع، الجودة عالية والسعر مناسب",
    "cp932": "とても良い商品です。配送も早かったです。また買いたいと思います。",
    "euc_jp": "とても良い商品です。配送も早かったです。また買いたいと思います。",
    "cp949": "정말 좋은 상품입니다. 배송도 빠르고 품질이 아주 좋아요. 추천합니다.",
    "gb18030": "这个产品非常好,质量不错,物流很快,推荐大家购买。价格也便宜。",
    "big5": "這個產品非常好,品質不錯,物流很快,推薦大家購買。價格也便宜。",
    "cp874": "สินค้าดีมาก ส่งเร็ว แนะนำให้ซื้อ คุณภาพดี ราคาถูก",
}
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
MARKS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


def as_csv(texts: list[str]) -> str:
    return "overall,reviewText\r\n" + "".join(f'{n % 5 + 1},"{t}"\r\n' for n, t in enumerate(texts))


def as_json(texts: list[str]) -> str:
    records = [{"overall": n % 5 + 1, "reviewText": t} for n, t in enumerate(texts)]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def as_tsv(texts: list[str]) -> str:
    """Excel's "Unicode text", except the encoding."""
    return "overall\treviewText\r\n" + "".join(f"{n % 5 + 1}\t{t}\r\n" for n, t in enumerate(texts))


def sample_of(folder: Path, data: bytes, config: InputConfig | None = None) -> Sample:
    (folder / "a").write_bytes(data)
    sample = read_sample(locate(folder / "a"), config or InputConfig())
    assert sample is not None
    return sample


def read(folder: Path, data: bytes, config: InputConfig | None = None) -> Kept:
    (folder / "a").write_bytes(data)
    fmt = detect_format(locate(folder / "a"), config or InputConfig())
    assert fmt is not None
    (chunk,) = read_chunks(locate(folder / "a"), 0, fmt.dialect.cutting(1 << 20))
    return keep_lines(chunk, fmt, RECIPE)


def texts_of(kept: Kept) -> list[str]:
    return [str(text) for text in kept.rows["text"].to_pylist()]


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("write", [as_csv, as_tsv, as_json])
@pytest.mark.parametrize("text", ["plain", "上海 很好 🙂", "Größe"])
def test_utf16_and_utf32_are_read_with_and_without_a_mark(
    text: str, write: Callable[[list[str]], str], encoding: str, marked: bool, tmp_path: Path
) -> None:
    texts = [f"{text} {n}" for n in range(30)]
    mark = MARKS[encoding] if marked else b""
    data = mark + write(texts).encode(encoding)
    kept = read(tmp_path, data)
    assert (texts_of(kept), kept.rejected) == (texts, [])
    sample = sample_of(tmp_path, data)
    assert sample.dialect.encoding == encoding
    assert sample.notes[-1].startswith(f"encoding {encoding}")
    assert sample.warnings == ()
    header = "" if write is as_json else write([])
    assert sample.dialect.start_bytes == len(mark + header.encode(encoding))


@pytest.mark.parametrize("name", ["utf-16", "UTF16", "utf-16-le", "u16"])
def test_setting_of_utf16_agrees_with_the_mark(name: str, tmp_path: Path) -> None:
    config = load_config(sets=[f"input.encoding={name}"]).input
    for data in (as_csv(["é"] * 9).encode("utf-16"), as_csv(["é"] * 9).encode("utf-16-le")):
        assert texts_of(read(tmp_path, data, config)) == ["é"] * 9


def test_mostly_chinese_utf16_without_a_mark_is_read(tmp_path: Path) -> None:
    texts = ["这个产品非常好质量不错物流很快推荐大家购买价格也便宜上" * 4] * 40
    assert texts_of(read(tmp_path, as_csv(texts).encode("utf-16-be"))) == texts


@pytest.mark.parametrize("density", [1, 12])
@pytest.mark.parametrize("write", [as_csv, as_json])
@pytest.mark.parametrize("encoding", TEXTS)
def test_other_encodings_are_guessed_with_a_warning(
    encoding: str, write: Callable[[list[str]], str], density: int, tmp_path: Path
) -> None:
    text = TEXTS[encoding]
    texts = [f"{text[n % 7 :]} {n}" if n % density == 0 else f"plain words, number {n}" for n in range(120)]
    data = write(texts).encode(encoding)
    kept = read(tmp_path, data)
    assert (texts_of(kept), kept.rejected) == ([t.strip() for t in texts], [])
    (warning,) = sample_of(tmp_path, data).warnings
    assert warning == f"encoding: {encoding} (guessed); set input.encoding=… if texts look wrong"


def test_header_and_configured_columns_are_decoded(tmp_path: Path) -> None:
    data = ("Оценка;Отзыв\n" + "5;Очень хороший товар\n" * 20).encode("cp1251")
    config = InputConfig(text=("Отзыв",), stars="Оценка")
    assert texts_of(read(tmp_path, data, config)) == ["Очень хороший товар"] * 20
    config = InputConfig(text=("Отзыв",), stars="Оценка", encoding="cp1251")
    assert sample_of(tmp_path, data, config).dialect.start_bytes == len("Оценка;Отзыв\n")


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xfe\xff", b"\xe9", b"caf\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"]
)
def test_damaged_utf8_is_not_another_encoding(bad: bytes, tmp_path: Path) -> None:
    lines = as_csv([f"näive Größe {n}" for n in range(100)]).encode().split(b"\r\n")
    for at in (3, 40, 41, 77):
        lines[at] = lines[at][:-1] + bad + b'"'
    data = b"\r\n".join(lines)
    sample = sample_of(tmp_path, data)
    assert (sample.dialect.encoding, sample.warnings) == (None, ())
    kept = read(tmp_path, data)
    assert [(r.line, r.reason) for r in kept.rejected] == [(n, "bad_encoding") for n in (3, 40, 41, 77)]
    assert {r.detail for r in kept.rejected} == {"reviewText is not valid UTF-8"}
    assert len(texts_of(kept)) == 96


def test_few_bad_lines_in_ascii_are_rejected_and_name_the_field(tmp_path: Path) -> None:
    lines = as_json([f"number {n}" for n in range(100)]).encode().splitlines(keepends=True)
    lines[50] = lines[50].replace(b"number", b"caf\xe9")
    kept = read(tmp_path, b"".join(lines))
    assert [(r.line, r.reason) for r in kept.rejected] == [(51, "bad_encoding")]
    assert kept.rejected[0].detail.startswith("reviewText is not valid UTF-8: ")


def test_ascii_sample_before_other_bytes_gives_rejects(tmp_path: Path) -> None:
    data = as_csv(["plain words " * 10] * 2500 + ["Größe"] * 9).encode("cp1252")
    assert len(data) > 1 << 18
    assert sample_of(tmp_path, data).dialect.encoding is None
    kept = read(tmp_path, data)
    assert [r.reason for r in kept.rejected] == ["bad_encoding"] * 9
    config = InputConfig(encoding="windows-1252")
    assert (
        texts_of(read(tmp_path, data, load_config(sets=["input.encoding=windows-1252"]).input))[-1] == "Größe"
    )
    assert config.encoding == "cp1252"


def test_setting_overrides_the_guess_and_warns_about_valid_utf8(tmp_path: Path) -> None:
    data = as_csv(["Größe"] * 9).encode("cp1252")
    assert texts_of(read(tmp_path, data, InputConfig(encoding="cp1250"))) == ["Größe"] * 9
    assert sample_of(tmp_path, data, InputConfig(encoding="cp1250")).warnings == ()
    sample = sample_of(tmp_path, as_csv(["Größe"] * 9).encode(), InputConfig(encoding="cp1252"))
    assert sample.warnings == (
        "input.encoding=cp1252, but the first lines are valid UTF-8; texts may be garbled",
    )
    with pytest.raises(InputError, match=r"mark of utf-8, but input\.encoding=cp1252; omit the setting"):
        sample_of(tmp_path, b"\xef\xbb\xbf" + data, InputConfig(encoding="cp1252"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp932"])
def test_long_first_line_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    text = as_json(["表" * 400_000, "良い", "悪い"])
    sample = sample_of(tmp_path, text.encode(encoding), InputConfig(encoding=encoding))
    assert [r["reviewText"] for r in sample.records] == ["良い", "悪い"]
    assert (sample.dialect.encoding, sample.dialect.start_bytes) == (encoding, 0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(range(256)) * 40, "not valid UTF-8|NUL|neither JSON"),
        (
            as_csv(["x"] * 9).encode() + bytes(400),
            "bytes are NUL; neither UTF-8 nor UTF-16",
        ),
    ],
)
def test_binary_data_are_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        sample_of(tmp_path, data)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cp125", "input.encoding=cp125: unknown encoding; did you mean cp125"),
        ("latin-11", "input.encoding=latin-11: unknown encoding; did you mean latin"),
        ("shiftjs", "unknown encoding; did you mean shift"),
        ("base64", "input.encoding=base64: not supported"),
        ("utf-7", "input.encoding=utf-7: not supported; convert the file with iconv -f utf-7 -t utf-8"),
        ("iso2022_jp", "not supported; convert the file with iconv -f iso2022_jp -t utf-8"),
        ("xyzzy", "unknown encoding; for example utf-16, cp1252 or shift_jis"),
    ],
)
def test_unknown_encodings_are_refused(name: str, words: str) -> None:
    with pytest.raises(SettingError) as raised:
        load_config(sets=[f"input.encoding={name}"])
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("Latin1", "iso8859-1"),
        ("sjis", "shift_jis"),
    ],
)
def test_encodings_have_python_names(given: str, name: str) -> None:
    assert load_config(sets=[f"input.encoding={given}"]).input.encoding == name
