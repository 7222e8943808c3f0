"""Passwords in files."""

import os
import stat
from pathlib import Path

import pytest

from hpo.database.address import parse_address
from hpo.errors import PasswordError, StorageError
from hpo.password import make_password, read_password


def test_a_password_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "password"
    assert make_password(path, mode=0o400)
    first = read_password(path)
    assert len(first) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert not make_password(path, mode=0o400)
    assert read_password(path) == first
    assert make_password(tmp_path / "other", mode=0o444)
    assert read_password(tmp_path / "other") != first
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["new", "other", "password"], "nothing is left behind"


def test_an_empty_file_gets_a_password_and_a_users_own_is_kept(tmp_path: Path) -> None:
    empty, own = tmp_path / "empty", tmp_path / "own"
    empty.touch()
    own.write_text("p@ss: ä\r\nsecond line\n")
    assert make_password(empty, mode=0o400)
    assert not make_password(own, mode=0o400)
    assert read_password(own) == "p@ss: ä"


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"\nsecond", b"\xff\xfe"])
def test_a_file_without_a_password_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PasswordError, match=str(path)) as caught:
        read_password(path)
    assert "hpo password FILE" in caught.value.hint


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "file" / "password", tmp_path / "pipe", tmp_path):
        with pytest.raises(PasswordError, match=str(path)):
            make_password(path, mode=0o400)


def test_a_url_takes_its_password_from_a_file_and_never_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("p@ss/w:rd\n")
    address = parse_address(f"postgresql://me@db:5433/hpo?password_file={path}&application_name=mine")
    url = address.url
    assert (url.username, url.password, url.host, url.port) == ("me", "p@ss/w:rd", "db", 5433)
    assert dict(url.query) == {"application_name": "mine"}
    assert "p@ss" not in address.public
    assert "password_file" not in address.public
    shown = parse_address("postgresql://me@db/hpo?password=hidden&sslpassword=hidden&host=/run/pg").public
    assert shown == "postgresql+psycopg2://me@db/hpo?host=%2Frun%2Fpg"
    for wrong in (f"postgresql://me:x@db/hpo?password_file={path}", f"sqlite:///x.db?password_file={path}"):
        with pytest.raises(StorageError, match="password"):
            parse_address(wrong)
    with pytest.raises(PasswordError, match="missing"):
        parse_address(f"postgresql://me@db/hpo?password_file={tmp_path / 'missing'}")
