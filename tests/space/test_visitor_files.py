"""The folder of visitors' files: private, unguessable, without links, and gone in the end."""

import os
import stat
import time

import pytest

from hf_handdiff.errors import StorageError

visitor_files = pytest.importorskip("visitor_files")  # space/ is put on the path by conftest.py


@pytest.fixture
def files(tmp_path):
    files = visitor_files.VisitorFiles(tmp_path)
    yield files
    files.close()


@pytest.fixture
def stranger(tmp_path):
    """Somebody else's folder with one file that is two days old."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    aged(folder / "precious.txt")
    return folder


def aged(path):
    path.write_text("mine")
    os.utime(path, (time.time() - 172_800,) * 2)
    return path


def test_each_run_has_a_folder_of_its_own(tmp_path, files):
    other = visitor_files.VisitorFiles(tmp_path)
    assert files.path.parent == other.path.parent == tmp_path and files.path != other.path
    other.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_its_user_can_read_it(files):
    assert stat.S_IMODE(files.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.new_folder().stat().st_mode) == 0o700


def test_what_windows_lacks_is_not_needed(tmp_path, monkeypatch):
    for name in ("getuid", "geteuid"):
        monkeypatch.delattr(os, name, raising=False)
    files = visitor_files.VisitorFiles(tmp_path)
    assert files.new_folder().is_dir()
    files.sweep()
    files.close()


def test_old_files_go_and_new_and_own_ones_stay(tmp_path):
    files = visitor_files.VisitorFiles(tmp_path, keep_seconds=0.3)
    own = files.new_folder() / "example.jpg"
    own.write_text("of the page")
    files.keep_present()
    old = files.new_folder() / "hand.glb"
    old.write_text("old")
    time.sleep(0.4)
    new = files.new_folder() / "hand.glb"
    new.write_text("new")
    files.sweep()
    assert own.exists() and new.exists() and not old.exists()
    files.close()
    assert not files.path.exists()


def test_a_link_in_it_is_removed_and_not_followed(tmp_path, stranger):
    files = visitor_files.VisitorFiles(tmp_path, keep_seconds=0)
    links = [files.path / "file", files.path / "folder"]
    links[0].symlink_to(stranger / "precious.txt")
    links[1].symlink_to(stranger)
    time.sleep(0.05)
    files.sweep()
    files.clear()
    assert os.listdir(files.path) == []
    files.close()
    assert (stranger / "precious.txt").exists() and not files.path.exists()


@pytest.mark.parametrize("by_link", [True, False])
def test_a_folder_in_its_place_is_left_alone(tmp_path, stranger, by_link):
    files = visitor_files.VisitorFiles(tmp_path, keep_seconds=0)
    files.path.rmdir()  # as a cleaner of temporary folders does
    if by_link:
        files.path.symlink_to(stranger)
    else:
        (tmp_path / "spare").mkdir()  # so that the new folder does not get the number of the old one
        stranger.rename(files.path)
    with pytest.raises(StorageError, match="started again"):
        files.new_folder()
    files.sweep()
    files.clear()
    files.close()
    assert (files.path / "precious.txt").exists()
