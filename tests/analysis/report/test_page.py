from __future__ import annotations

import base64
import hashlib
import re

from markupsafe import Markup

from analysis.report.cells import texts
from analysis.report.drawing import Drawing
from analysis.report.page import Table, to_html
from tests.analysis.report.conftest import MakePage

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"
ESCAPED = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;"


def test_whatever_a_run_has_written_comes_out_as_text(make_page: MakePage) -> None:
    table = Table("t", [texts(HOSTILE, [HOSTILE])], HOSTILE)
    lines = [HOSTILE]
    html = to_html(
        make_page(
            title=HOSTILE,
            about=lines,
            problems=lines,
            fairness=lines,
            results=table,
            missing=lines,
            citations=lines,
            baseline=HOSTILE,
            differences=table,
            below_drawings=lines,
            failures=table,
            options=[(HOSTILE, HOSTILE)],
        )
    )
    assert "<script>alert" not in html
    assert "<img" not in html
    assert html.count(ESCAPED) >= 15
    assert "{{ 7*<wbr>7 }}" in html or "{{ 7*7 }}" in html


def test_a_hostile_point_of_a_figure_does_not_end_its_data(make_page: MakePage) -> None:
    points = [{"name": HOSTILE, "at": [[1.0, 2.0]], "said": [HOSTILE]}]
    html = to_html(make_page(drawings=[Drawing("curves", HOSTILE, Markup("<svg></svg>"), points)]))
    assert "<script>alert" not in html
    assert r"\u003c/script\u003e" in html


def test_the_policy_lets_our_script_run_and_no_other(make_page: MakePage) -> None:
    html = to_html(make_page())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_nothing_is_named_that_would_have_to_be_fetched(make_page: MakePage) -> None:
    html = to_html(make_page())
    assert not re.findall(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import""", html)


def test_sections_without_content_are_left_out_with_their_links(make_page: MakePage) -> None:
    bare = to_html(make_page())
    table = Table("t", [texts("run", ["a"])])
    full = to_html(make_page(differences=table, failures=table))
    for name in ("differences", "failed"):
        assert f"{name}-section" not in bare
        assert f'href="#{name}-section"' in full
        assert f'id="{name}-section"' in full


def test_fairness_notes_stand_above_the_results(make_page: MakePage) -> None:
    html = to_html(make_page(fairness=["lr differs"]))
    assert html.index("lr differs") < html.index('id="results"')


def test_long_names_may_go_on_in_the_next_line_without_another_letter(make_page: MakePage) -> None:
    html = to_html(make_page(results=Table("results", [texts("network", ["bam_resnet50"])])))
    assert "bam_<wbr>resnet50" in html
