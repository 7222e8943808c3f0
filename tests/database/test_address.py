"""Database URLs as people write and mistype them: every message names what is wrong, none shows a value."""

import pickle

import pytest
import sqlalchemy as sa
from postgres import Postgres

from hpo.database.address import parse_address
from hpo.database.outage import explained
from hpo.database.storage import open_store
from hpo.errors import HpoError, PasswordError, StorageError


def said(text: str, kind: type[HpoError] = StorageError) -> str:
    with pytest.raises(kind) as caught:
        parse_address(text)
    return f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("option", "meant"),
    [("pasword", "password"), ("passwordfile", "password_file"),
     ("sslmod", "sslmode"), ("aplication_name", "application_name")],
)  # fmt: skip
def test_a_mistyped_option_is_answered_with_the_nearest_name_and_never_its_value(option: str, meant: str) -> None:
    text = said(f"postgresql://me@db/hpo?sslmode=require&{option}=hunter2")
    assert "Option 2" in text
    assert f"Is {meant}" in text
    assert "hunter2" not in text
    assert option not in text.replace(meant, "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@db/hpo?hunter2",
        "postgresql://me@db/hpo?hunter2=1",
        "postgresql://me@db/hpo?sslmode=a&sslmode=hunter2",
        "postgresql://me@db/hpo?password=hunter2&password=x",
        "postgresql://me@db/hpo?password=",
        "postgresql://me:x@db/hpo?password=a@hunter2",
        "postgresql://me@db/hpo?password=hunter2&password_file=/x",
        "postgresql://me:hunter2@db/hpo?password_file=/x",
        "postgresql://me:hunter2%00@db/hpo",
        "postgresql://hunter2%00@db/hpo",
        "postgresql://me@db/hunter2%00",
        "postgresql://me@db/hpo?password=hunter2%1b",
        "postgresql://me:hunter2%0a@db/hpo",
        "postgresql://me:hunter2\x1b@db/hpo",
        "postgresql://me:hunter2\udcff@db/hpo",
        "postgresql://me:hunter2%ff@db/hpo",
        "sqlite:///hunter2\0.db",
        "sqlite:///x.db?hunter2=1",
        "sqlite:///x.db?hunter2",
    ],
)
def test_what_cannot_be_meant_is_one_message_without_a_value(url: str) -> None:
    assert "hunter2" not in said(url)


def test_a_password_file_with_a_zero_byte_is_one_message(tmp_path: object) -> None:
    path = f"{tmp_path}/password"
    with open(path, "wb") as file:
        file.write(b"hunter2\0\n")
    assert "zero byte" in said(f"postgresql://me@db/hpo?password_file={path}", PasswordError)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "2001:db8::7"])
def test_an_ipv6_host_is_read_and_shown_in_brackets(host: str) -> None:
    address = parse_address(f"postgresql://me:a:b@[{host}]:5433/hpo?sslmode=require")
    url = address.url
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", "a:b", host, 5433, "hpo")
    assert address.public == f"postgresql+psycopg2://me@[{host}]:5433/hpo?sslmode=require"
    assert parse_address(f"postgresql://[{host}]/hpo").url.host == host


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hunter2@db/hpo",
        "postgresql://me@db/hpo?password=hunter2",
        "postgresql://me@db/hpo?sslpassword=hunter2&sslmode=require",
        "postgresql://me@db/hpo?sslmode=require;password=hunter2",
    ],
)
def test_an_address_is_carried_whole_and_shows_no_secret(text: str) -> None:
    address = parse_address(text)
    for shown in (str(address), repr(address), f"{address}", repr([address]), str({"address": address})):
        assert "hunter2" not in shown
        assert "://me@db/hpo" in shown
    carried = pickle.loads(pickle.dumps(address))
    assert (carried, carried.url, carried.typed) == (address, address.url, text)


def test_a_value_that_swallowed_a_password_is_neither_shown_nor_passed_on(postgres: Postgres) -> None:
    url = f"{postgres.new_database()}&sslmode=require;password=hunter2"
    assert "hunter2" not in parse_address(url).public
    with pytest.raises(StorageError, match=r"sslmode.*\*\*\*") as caught:
        open_store(parse_address(url), create=True)
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_a_driver_that_echoes_a_password_is_not_quoted() -> None:
    url = parse_address("postgresql://me:two%20 hunters@db/hpo?sslpassword=hunter2")
    with pytest.raises(StorageError) as caught, explained(url):
        raise sa.exc.OperationalError("", {}, Exception('invalid dsn: "password=two  hunters sslpassword=hunter2"'))
    assert "hunter" not in caught.value.message


def test_an_address_is_shown_as_it_is_typed() -> None:
    address = parse_address("postgresql://me:x@db:5432/hpo?sslmode=require")
    assert str(address) == "postgresql://me@db:5432/hpo?sslmode=require"
    assert address.public.startswith("postgresql+psycopg2://"), "what plain Optuna opens by the right driver"
