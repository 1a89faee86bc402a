from bert_jax.tasks.classification import Classification
from bert_jax.tasks.report_page import confusion, label_scores, write_report

ROWS = [
    {"text": "a", "truth": "yes", "label": "yes", "scores": {"yes": 0.9, "no": 0.1}},
    {"text": "b <i>", "truth": "yes", "label": "no", "scores": {"yes": 0.3, "no": 0.7}},
    {"text": "c", "truth": "no", "label": "yes", "scores": {"yes": 0.8, "no": 0.2}},
    {"text": "d", "truth": "yes", "label": "yes", "scores": {"yes": 0.6, "no": 0.4}},
]


def test_label_scores_by_hand():
    counts = confusion([r["truth"] for r in ROWS], [r["label"] for r in ROWS])
    assert counts == {("yes", "yes"): 2, ("yes", "no"): 1, ("no", "yes"): 1}
    assert label_scores(counts) == {"no": (0, 0, 0), "yes": (2 / 3, 2 / 3, 2 / 3)}


def test_the_page_shows_curves_matrix_scores_and_the_surest_mistakes_first(tmp_path):
    result = {"scores": {"dev": {"accuracy": {"mean": 0.5, "std": 0.1, "per_seed": [0.4, 0.6]}}}}
    curves = {
        f"{name} {seed}": [{"step": step, key: step / 7} for step in (1, 2)]
        for name, key in (("metrics", "loss"), ("heldout", "dev_accuracy"))
        for seed in (0, 1)
    }
    write_report(tmp_path, Classification(("no", "yes"), 8), {"dev": ROWS}, result, curves)
    page = (tmp_path / "report.html").read_text()
    assert (
        "Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline';" in page
    )
    assert page.count("<svg") == 3  # two curves and a matrix
    assert page.count(">seed 0</text>") == page.count(">seed 1</text>") == 2
    assert [page.count(f">{n}</text>") for n in ("yes", "no")] == [2, 2]
    assert "<td>0.5000</td><td>0.1000</td><td>0.4000, 0.6000</td>" in page
    assert "<td>yes</td><td>0.667</td><td>0.667</td><td>0.667</td>" in page
    assert "Most confident mistakes (2 of 2)" in page
    assert page.index("<td>0.800</td><td>c</td>") < page.index("<td>0.700</td><td>b &lt;i&gt;</td>")
