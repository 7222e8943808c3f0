"""Optuna's own tests of a storage, which its package ships, over hpo's on both databases."""

import pytest
from optuna.storages import BaseStorage
from optuna.testing.pytest_storages import StorageTestCase

from hpo.database.storage import Store

ALWAYS = ["test_create_new_trial", "test_set_trial_state_values_for_state", "test_delete_study"]


@pytest.fixture
def storage(store: Store) -> BaseStorage:
    return store.optuna


@pytest.mark.slow
class TestStorage(StorageTestCase):
    pass


@pytest.mark.parametrize("name", ALWAYS)
def test_storage_does_what_optuna_asks_of_one(storage: BaseStorage, name: str) -> None:
    getattr(StorageTestCase(), name)(storage)
