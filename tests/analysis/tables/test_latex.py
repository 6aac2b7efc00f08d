from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis.tables import columns, comparison
from analysis.tables.latex import left_out, to_latex
from analysis.tables.text_table import TextTable

GOLDEN = r"""% needs \usepackage{booktabs}

{\small\setlength{\tabcolsep}{4pt}%
\begin{tabular}{lrrrrrrrrr}
\toprule
network & runs & seeds & \shortstack[r]{test top-1 \\ (\%) \\ best epoch \\ (chosen on \\ test)} & \shortstack[r]{test top-1 \\ (\%) \\ final epoch} & \shortstack[r]{train \\ minus \\ test} & params & MACs & \shortstack[r]{s per \\ epoch} & restarts \\
\midrule
resnet\_small & 2/2 & 2 & 72.00 $\pm$ 1.41 & 71.00 $\pm$ 1.41 & +5.00 & 175 k & 26.0 M & 1.50 & 0 \\
sresnet\_small & 1/3* & 1 & 81.50 & 80.50 & +5.00 & 1.23 M & 1.30 G & 1.50 & 1 \\
\bottomrule
\end{tabular}}

\par\bigskip
% test top-1 (%), final epoch: difference to plain
\begin{tabular}{lrrrrl}
\toprule
network & \shortstack[r]{shared \\ seeds} & difference & 95 \% interval & p (Holm) & verdict \\
\midrule
se & 5 & +0.82 & {[}+0.31, +1.33{]} & 0.022 & better \\
bam & 4 & $-$0.25 & {[}$-$0.90, +0.40{]} & 0.310 & \begin{tabular}[t]{@{}l@{}}not told apart: n = 4 \\ shows 0.75 or more\end{tabular} \\
cbam & 1 & +0.50 & --- & --- & \begin{tabular}[t]{@{}l@{}}n = 1 is too small to \\ tell\end{tabular} \\
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


def set_by_latex(text: str, folder: Path) -> str:
    """What pdflatex logs of it, on a page of A4 with margins of 2.5 cm."""
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    head = "\\documentclass{article}\n\\usepackage{booktabs}\n\\setlength{\\textwidth}{16cm}\n"
    document = f"{head}\\begin{{document}}\n{text}\nsmall or not\n\\end{{document}}\n"
    (folder / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_it_compiles(main_table: TextTable, comparison_table: TextTable, tmp_path: Path) -> None:
    lines = ["a line", "50 % of `a_b`"]
    set_by_latex(to_latex([main_table, comparison_table, HOSTILE], lines), tmp_path)


NETWORKS = ["preact_resnet50", "bam_preact_resnet50", "sresnet50_skips_dilation", "ResNet-101"]
PER_RUN = {"finished": 5, "planned": 5, "seeds": 5, "attempts": 12, "restarts": 7}
MEASURED = {"best_mean": 77.31, "best_std": 0.21, "final_mean": 77.12, "final_std": 0.25}
SIZES = {"params": 23_693_476, "macs": 1_298_000_000, "epoch_s": 31.4, "throughput_img_s": 1592.0}
HOURS = {"gpu_h": 19.6, "gpu_h_useful": 17.0, "gpu_h_lost": 0.7}
SPENT = HOURS | {"queue_first_s": 72_340.0, "queue_total_s": 303_400.0}


def sweep_table(names: str | None = None, **changed: object) -> TextTable:
    """Of five seeds of each of the networks."""
    summary = pd.DataFrame({"group": NETWORKS}).assign(**PER_RUN, **MEASURED, **SIZES, **SPENT)
    summary = summary.assign(train_mean=99.9, gap_mean=22.78, hours_of="GPU", **changed)
    optional = columns.OPTIONAL if names in (None, "all") else ()
    return columns.table(summary, columns=columns.choose(names, summary), optional=optional)


def many_compared(compared: pd.DataFrame) -> TextTable:
    rows = compared.iloc[[0, 1, 2, 1]].assign(group=NETWORKS)
    return comparison.table(rows, NETWORKS[0])


@pytest.mark.parametrize("names", [None, "all", "runs,final,params,macs,gpu_h"])
def test_tables_of_a_usual_sweep_fit_a_page(
    names: str | None, compared: pd.DataFrame, tmp_path: Path
) -> None:
    text = to_latex([sweep_table(names), many_compared(compared)])
    assert "Overfull" not in set_by_latex(text, tmp_path)


def test_a_table_is_set_smaller_before_a_column_is_left_out(compared: pd.DataFrame) -> None:
    few, usual, everything = map(sweep_table, ("runs,final", None, "all"))
    assert left_out([few, usual, many_compared(compared)]) == []
    assert "tabcolsep" not in to_latex([few])
    assert "{\\footnotesize\\setlength{\\tabcolsep}{3pt}%\n" in to_latex([usual])
    [told] = left_out([everything])
    assert told.startswith("left out, because the table would be wider than a page: images/s; ")
    assert told.endswith(". What --columns names is kept")
    assert f"% {told}\n" in to_latex([everything])


def test_words_break_where_they_would_make_a_table_too_wide(compared: pd.DataFrame) -> None:
    text = to_latex([many_compared(compared)])
    assert r"\begin{tabular}[t]{@{}l@{}}not told apart: n = 4 \\ shows 0.75 or more\end" in text
    assert "bam\\_preact\\_resnet50 &" in text
