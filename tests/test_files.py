"""Files: whole or not at all."""
import os

import pytest

from bkind3d_lite.files import write_atomically


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
    assert places[0].parent == tmp_path and places[0].suffix == ".mp4" and places[0].name != "clip.mp4"


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
