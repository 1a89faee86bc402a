"""A compiled program read again: another device's figures, and its mistakes."""

import pytest
from absl.testing import flagsaver

from bert_jax.cli import command
from launch import roofline
from tests.launch.test_counting import FUSIONS


def run(monkeypatch, *flags):
    monkeypatch.setattr("sys.argv", ["launch/roofline.py", *flags])
    with flagsaver.flagsaver():
        try:
            command.run(roofline.main)
        except SystemExit as ended:
            return ended.code
    return 0


def test_a_kept_program_on_two_devices(tmp_path, monkeypatch, capsys):
    (tmp_path / "step.txt").write_text(FUSIONS)
    printed = []
    for kind in ("h100", "h200"):
        assert not run(monkeypatch, f"--hlo={tmp_path}/step.txt", f"--topology={kind}:1")
        printed.append(capsys.readouterr().out)
    assert all("step at least" in text and "The slowest kernels" in text for text in printed)
    assert printed[0] != printed[1]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--hlo=nowhere.txt"], "got --hlo=nowhere.txt, which cannot be read"),
        ([f"--hlo={__file__}"], "which holds no ENTRY; expected a program"),
        ([f"--hlo={__file__}", "--topology=v9:1"], "got --topology=v9:1; expected KIND:SHAPE"),
        ([], "--hlo"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, capsys, flags, said):
    assert run(monkeypatch, *flags) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1 and said in printed
