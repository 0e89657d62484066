"""Writers of the same reviews in the dialects that people have, clean ones and faulty ones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Review:
    """A review whose text and stars are known."""

    text: str
    stars: int
    user: str


Writer = Callable[[Path, list[Review]], None]


def records(reviews: list[Review]) -> list[dict[str, object]]:
    return [{"user_id": r.user, "text": r.text, "stars": r.stars} for r in reviews]


def frame(reviews: list[Review]) -> pd.DataFrame:
    return pd.DataFrame(records(reviews))


def write_text(file: Path, text: str, encoding: str = "utf-8") -> None:
    file.write_bytes(text.encode(encoding))


def csv_text(reviews: list[Review], **options: object) -> str:
    out = io.StringIO(newline="")
    settings = {"lineterminator": "\n"} | options
    writer = csv.writer(out, **settings)  # type: ignore[arg-type]
    writer.writerow(["user_id", "text", "stars"])
    writer.writerows([r.user, r.text, r.stars] for r in reviews)
    return out.getvalue()


def json_lines(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(json.dumps(r) + "\n" for r in records(reviews)))


def json_lines_unicode(file: Path, reviews: list[Review]) -> None:
    write_text(file, "\r\n".join(json.dumps(r, ensure_ascii=False) for r in records(reviews)))


def pandas_json_lines(file: Path, reviews: list[Review]) -> None:
    frame(reviews).to_json(file, orient="records", lines=True)


def pandas_csv(file: Path, reviews: list[Review]) -> None:
    frame(reviews).to_csv(file, index=False)


def pandas_tsv(file: Path, reviews: list[Review]) -> None:
    frame(reviews).to_csv(file, index=False, sep="\t")


def csv_excel(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews, lineterminator="\r\n"))


def csv_quote_all(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews, quoting=csv.QUOTE_ALL))


def csv_semicolon(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews, delimiter=";", quoting=csv.QUOTE_NONNUMERIC))


def csv_pipe(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews, delimiter="|"))


def csv_bom(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews), "utf-8-sig")


def parquet(file: Path, reviews: list[Review]) -> None:
    pq.write_table(pa.Table.from_pylist(records(reviews)), file)


def python_literals(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(f"{r!r}\n" for r in records(reviews)))


def json_array(file: Path, reviews: list[Review]) -> None:
    write_text(file, json.dumps(records(reviews)))


def pandas_json_array(file: Path, reviews: list[Review]) -> None:
    frame(reviews).to_json(file, orient="records", indent=2)


def json_pages(file: Path, reviews: list[Review]) -> None:
    """Answers of a service, one after the other."""
    pages = [reviews[at : at + 7] for at in range(0, len(reviews), 7)]
    documents = [{"page": n, "data": {"items": records(page)}, "next": n} for n, page in enumerate(pages)]
    write_text(file, "\n".join(json.dumps(d, ensure_ascii=False) for d in documents))


def json_pretty(file: Path, reviews: list[Review]) -> None:
    write_text(file, "\n".join(json.dumps(r, indent=4) for r in records(reviews)))


def json_joined(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(json.dumps(r, separators=(",", ":")) for r in records(reviews)))


def json_commas(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(json.dumps(r) + ",\n" for r in records(reviews)))


CLEAN: dict[str, Writer] = {
    w.__name__: w
    for w in (
        *(json_lines, json_lines_unicode, pandas_json_lines, pandas_csv, pandas_tsv, csv_excel),
        *(csv_quote_all, csv_semicolon, csv_pipe, csv_bom, parquet, python_literals),
        *(json_array, pandas_json_array, json_pages, json_pretty, json_joined, json_commas),
    )
}
"""Writers whose files must be read exactly and without a warning."""


def json_nan(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(json.dumps(r | {"votes": float("nan")}) + "\n" for r in records(reviews)))


def csv_backslash(file: Path, reviews: list[Review]) -> None:
    """Spark's writer: quotes and backslashes are escaped by a backslash."""
    text = csv_text(reviews, escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL)
    write_text(file, text)


def csv_spaced(file: Path, reviews: list[Review]) -> None:
    rows = [["user_id", "text", "stars"], *([r.user, quoted(r.text), str(r.stars)] for r in reviews)]
    write_text(file, "".join(", ".join(row) + "\n" for row in rows))


def csv_numbered(file: Path, reviews: list[Review]) -> None:
    rows = [f"{n},{r.user},{quoted(r.text)},{r.stars}\n" for n, r in enumerate(reviews)]
    write_text(file, "user_id,text,stars\n" + "".join(rows))


def csv_sep(file: Path, reviews: list[Review]) -> None:
    write_text(file, "sep=;\n" + csv_text(reviews, delimiter=";"))


def csv_repeated_header(file: Path, reviews: list[Review]) -> None:
    half = len(reviews) // 2
    write_text(file, csv_text(reviews[:half]) + csv_text(reviews[half:]))


def csv_utf16(file: Path, reviews: list[Review]) -> None:
    write_text(file, csv_text(reviews, delimiter="\t"), "utf-16")


def stars_of_5(file: Path, reviews: list[Review]) -> None:
    rows = [r | {"stars": f"{r['stars']}.0 out of 5 stars"} for r in records(reviews)]
    write_text(file, "".join(json.dumps(r) + "\n" for r in rows))


def mongo_export(file: Path, reviews: list[Review]) -> None:
    rows = [r | {"_id": {"$oid": "5f"}, "stars": {"$numberInt": str(r["stars"])}} for r in records(reviews)]
    write_text(file, "".join(json.dumps(r) + "\n" for r in rows))


EXACT: dict[str, Writer] = {
    w.__name__: w
    for w in (
        *(json_nan, csv_backslash, csv_spaced, csv_numbered, csv_sep, csv_repeated_header, csv_utf16),
        *(stars_of_5, mongo_export),
    )
}
"""Writers of unusual files that must also be read exactly; notes and warnings are allowed."""


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def csv_unescaped(file: Path, reviews: list[Review]) -> None:
    """Quotes around every field, and inner quotes as they are."""
    rows = [f'"{r.user}","{r.text}","{r.stars}"\n' for r in reviews if '""' not in r.text]
    write_text(file, '"user_id","text","stars"\n' + "".join(rows))


def csv_joined(file: Path, reviews: list[Review]) -> None:
    """Fields that are joined without quotes."""
    write_text(file, "user_id,text,stars\n" + "".join(f"{r.user},{r.text},{r.stars}\n" for r in reviews))


def tsv_joined(file: Path, reviews: list[Review]) -> None:
    write_text(file, "user_id\ttext\tstars\n" + "".join(f"{r.user}\t{r.text}\t{r.stars}\n" for r in reviews))


def csv_stray_quote(file: Path, reviews: list[Review]) -> None:
    """One field begins with a quote that is never closed."""
    lines = csv_text(reviews, quoting=csv.QUOTE_MINIMAL).split("\n")
    at = len(lines) // 2
    user, comma, rest = lines[at].partition(",")
    lines[at] = f"{user}{comma}{rest}" if rest.startswith('"') else f'{user}{comma}"{rest}'
    write_text(file, "\n".join(lines))


def cp1252(file: Path, reviews: list[Review]) -> None:
    file.write_bytes(csv_text(reviews).encode("cp1252", errors="replace"))


def zero_based(file: Path, reviews: list[Review]) -> None:
    rows = [r | {"stars": int(str(r["stars"])) - 1} for r in records(reviews)]
    write_text(file, "".join(json.dumps(r) + "\n" for r in rows))


def ten(file: Path, reviews: list[Review]) -> None:
    rows = [r | {"stars": 2 * int(str(r["stars"]))} for r in records(reviews)]
    write_text(file, "".join(json.dumps(r) + "\n" for r in rows))


def pandas_columns(file: Path, reviews: list[Review]) -> None:
    frame(reviews).to_json(file)


def json_array_broken(file: Path, reviews: list[Review]) -> None:
    """An array with an element that lacks a quote, and another that lacks its end."""
    elements = [json.dumps(r) for r in records(reviews)]
    elements[3] = elements[3].replace('", "stars"', ', "stars"')
    elements[7] = elements[7].removesuffix("}")
    write_text(file, "[" + ",".join(elements) + "]")


def fasttext(file: Path, reviews: list[Review]) -> None:
    write_text(file, "".join(f"__label__{r.stars} {r.text}\n" for r in reviews))


FAULTY: dict[str, Writer] = {
    w.__name__: w
    for w in (
        *(csv_unescaped, csv_joined, tsv_joined, csv_stray_quote, cp1252, zero_based, ten),
        *(pandas_columns, json_array_broken, fasttext),
    )
}
"""Writers of files that do not say clearly what they contain: nothing wrong may be kept without a warning."""

ONE_LINE = {"csv_unescaped", "csv_joined", "tsv_joined", "csv_stray_quote", "fasttext"}
"""Writers that do not distinguish a line end in a text from the end of a record."""
