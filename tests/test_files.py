"""Files: whole or not at all."""

import io
import os

import pytest

from bkind3d_lite.files import Table, read_rows, write_atomically


def test_writes_and_makes_the_folder(tmp_path):
    path = write_atomically(tmp_path / "new" / "deep" / "a.txt", lambda p: p.write_text("whole"))
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_the_temporary_lies_beside_and_keeps_the_suffix(tmp_path):
    places = []

    def write(temporary):
        places.append(temporary)
        temporary.write_bytes(b"x")

    write_atomically(tmp_path / "clip.mp4", write)
    assert (
        places[0].parent == tmp_path and places[0].suffix == ".mp4" and places[0].name != "clip.mp4"
    )


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    during = []

    def write(temporary):
        temporary.write_text("half")
        during.append(path.read_text())
        temporary.write_text("new")

    write_atomically(path, write)
    assert during == ["old"] and path.read_text() == "new"


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"a\.txt.*No space left.*free some space") as error:
        write_atomically(path, write)
    assert error.value.errno == 28
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_any_other_error_passes_and_leaves_nothing_behind(tmp_path):
    def write(temporary):
        temporary.write_text("half")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        write_atomically(tmp_path / "a.txt", write)
    assert os.listdir(tmp_path) == []


# ---- tables that grow ----------------------------------------------------------------------------
def test_a_table_grows_by_lines_and_by_columns(tmp_path):
    table = Table(tmp_path / "new" / "t.csv")
    table.add({"step": 1, "a": 0.5})
    table.add({"step": 2, "a": 0.25, "b": 1e-9})
    table.add({"step": 3, "b": 2.0})
    assert read_rows(tmp_path / "new" / "t.csv") == [
        {"step": "1", "a": "0.5", "b": ""},
        {"step": "2", "a": "0.25", "b": "1e-09"},
        {"step": "3", "a": "", "b": "2"},
    ]


def test_a_resumed_table_forgets_what_came_after_and_half_a_line(tmp_path):
    table = Table(tmp_path / "t.csv")
    for step in (1, 2, 3):
        table.add({"step": step, "a": 1.0})
    with open(tmp_path / "t.csv", "a") as file:
        file.write("4,0.")
    assert [r["step"] for r in read_rows(tmp_path / "t.csv")] == ["1", "2", "3"]
    Table(tmp_path / "t.csv", step=2).add({"step": 3, "a": 7.0})
    assert (tmp_path / "t.csv").read_text() == "step,a\n1,1\n2,1\n3,7\n"
    Table(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == ""


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    table = Table(tmp_path / "t.csv")
    table.add({"step": 1, "a": 1.0})

    class Full(io.FileIO):
        def write(self, line):
            super().write(line[:3])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Full(path, "ab"))
    with pytest.raises(OSError, match=r"t\.csv.*No space left.*resume"):
        table.add({"step": 2, "a": 2.0})
    monkeypatch.undo()
    assert (tmp_path / "t.csv").read_text() == "step,a\n1,1\n"
