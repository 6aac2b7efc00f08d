from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from analysis.tables.html import to_html
from analysis.tables.text_table import TextTable


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<body>{text}</body>")


def test_rows_and_columns_have_headings_that_a_screen_reader_finds(
    main_table: TextTable, comparison_table: TextTable
) -> None:
    body = parsed(to_html([main_table, comparison_table], ["a line"]))
    first, second = body.findall("table")
    columns = first.findall("thead/tr/th")
    assert [heading.text for heading in columns] == [*main_table.headings]
    assert {heading.get("scope") for heading in columns} == {"col"}
    rows = first.findall("tbody/tr")
    assert [[cell.text for cell in row] for row in rows] == [[*row] for row in main_table.rows]
    assert [row[0].get("scope") for row in rows] == ["row", "row"]
    assert second.findtext("caption") == comparison_table.caption
    assert [item.text for item in body.findall("ul/li")] == ["a line"]
    assert first.find("caption") is None


def test_words_are_aligned_left_and_numbers_right(comparison_table: TextTable) -> None:
    row = parsed(to_html([comparison_table])).find("table/tbody/tr")
    assert row is not None
    sides = [cell.get("style", "").split(";")[0].removeprefix("text-align: ") for cell in row]
    assert sides == ["left", "right", "right", "right", "right", "left"]


def test_what_a_run_says_is_text_and_never_markup(main_table: TextTable) -> None:
    hostile = "<script>alert('&')</script> ±"
    text = to_html([replace(main_table, headings=[hostile], rows=[[hostile]])], [hostile])
    assert text.isascii()
    assert "<script>" not in text
    assert parsed(text).findtext("table/tbody/tr/th") == hostile
