from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.tables.latex import to_latex
from analysis.tables.text_table import TextTable

GOLDEN = r"""% needs \usepackage{booktabs}

\begin{tabular}{lrrrrrrrrr}
\toprule
network & runs & seeds & \shortstack[r]{test top-1 \\ (\%) \\ best epoch \\ (chosen on \\ test)} & \shortstack[r]{test top-1 \\ (\%) \\ final epoch} & \shortstack[r]{train minus \\ test} & params & MACs & s per epoch & restarts \\
\midrule
resnet\_small & 2/2 & 2 & 72.00 $\pm$ 1.41 & 71.00 $\pm$ 1.41 & +5.00 & 175 k & 26.0 M & 1.50 & 0 \\
sresnet\_small & 1/3* & 1 & 81.50 & 80.50 & +5.00 & 1.23 M & 1.30 G & 1.50 & 1 \\
\bottomrule
\end{tabular}

% test top-1 (%), final epoch: difference to plain
\begin{tabular}{lrrrrl}
\toprule
network & shared seeds & difference & 95 \% interval & p (Holm) & verdict \\
\midrule
se & 5 & +0.82 & {[}+0.31, +1.33{]} & 0.022 & better \\
bam & 4 & $-$0.25 & {[}$-$0.90, +0.40{]} & 0.310 & not told apart: n = 4 shows 0.75 or more \\
cbam & 1 & +0.50 & --- & --- & n = 1 is too small to tell \\
\bottomrule
\end{tabular}

\par\medskip
{\footnotesize\raggedright
missing: one run of resnet\_small\par
}
"""  # noqa: E501  a golden table is as wide as it is


HOSTILE = TextTable(
    headings=["a & b_c", "50 % ~ ^"],
    rows=[
        ["\\input{x}", '[1em] <\N{MINUS SIGN}5> {} # $ | " … é 漢\n'],
        ["*", "— ± \N{MULTIPLICATION SIGN}"],
    ],
    is_complete=[True, True],
    caption="over\ntwo lines \\end{document}",
)


def test_the_latex_of_two_tables(main_table: TextTable, comparison_table: TextTable) -> None:
    assert to_latex([main_table, comparison_table], ["missing: one run of resnet_small"]) == GOLDEN


def test_no_letter_keeps_a_meaning_for_latex() -> None:
    text = to_latex([HOSTILE], ["a line\nwith \\another"])
    assert r"a \& b\_c & 50 \% \textasciitilde{} \textasciicircum{} \\" in text
    assert r"\textbackslash{}input\{x\}" in text
    assert "é ?" in text
    assert r"a line with \textbackslash{}another\par" in text
    [ending] = [line for line in text.splitlines() if "document" in line]
    assert ending == r"% two lines \end{document}"


def test_it_compiles(main_table: TextTable, comparison_table: TextTable, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    tables = to_latex([main_table, comparison_table, HOSTILE], ["a line", "50 % of `a_b`"])
    document = (
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n%s\n\\end{document}\n"
    )
    (tmp_path / "table.tex").write_text(document % tables)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
