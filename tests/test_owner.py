"""Which process made something is known, whoever has its number now."""

import dataclasses
import os
import subprocess
import sys

from bert_jax.owner import Owner

PRINT = "from bert_jax.owner import Owner; print(Owner.here())"


def other(*within):
    """Another process, which has ended."""
    run = [*within, sys.executable, "-c", PRINT]
    return Owner.parse(subprocess.check_output(run, text=True).strip())


def test_this_process_is_here():
    me = Owner.here()
    assert me.has_gone() is False
    assert Owner.parse(str(me)) == me == Owner.here()
    assert me.pid == os.getpid()
    assert Owner.parse("vm-4711-12ab34cd") is None


def test_one_that_ended_has_gone_even_where_another_has_its_number():
    gone = other()
    assert gone.host == Owner.here().host and gone.has_gone() is True
    assert dataclasses.replace(gone, pid=os.getpid()).has_gone() is True
    assert dataclasses.replace(gone, pid=2**80).has_gone() is True


def test_one_that_is_not_waited_for_has_gone():
    child = subprocess.Popen([sys.executable, "-c", PRINT], stdout=subprocess.PIPE, text=True)
    owner = Owner.parse(child.stdout.read().strip())
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner.has_gone() is True
    child.communicate()


def test_of_another_machine_boot_or_container_nothing_is_known(new_pid_namespace):
    me = Owner.here()
    assert dataclasses.replace(me, host="elsewhere").has_gone() is None
    assert dataclasses.replace(me, counter="00000000").has_gone() is None
    inside = other(*new_pid_namespace)
    assert (inside.host, inside.pid) == (me.host, 1) and inside.has_gone() is None


def test_without_proc_the_number_decides(monkeypatch, tmp_path):
    gone = other()
    monkeypatch.setattr("bert_jax.owner._PROC", tmp_path)
    me = Owner.here()
    assert me.began == 0 and me.has_gone() is False
    assert dataclasses.replace(me, pid=gone.pid).has_gone() is True
