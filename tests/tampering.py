"""What other programs do to a database."""

from hpo.database import Store


def change(store: Store, *statements: str) -> None:
    """Do to the tables what another program could."""
    with store.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def add_state(store: Store, kind: str, name: str) -> None:
    """Let an enumeration hold one value more, as another version of Optuna would."""
    if store.engine.dialect.name == "postgresql":
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER TYPE {kind} ADD VALUE '{name}'")


ODD_TRIALS = {  # what another program did to the trial of an id
    "an unknown state": "UPDATE trials SET state = 'ASLEEP' WHERE trial_id = {}",
    "an unknown kind of distribution": "UPDATE trial_params SET distribution_json = "
    """'{{"name": "Gaussian", "attributes": {{}}}}' WHERE trial_id = {}""",
    "a distribution cut short": """UPDATE trial_params SET distribution_json = '{{"na' WHERE trial_id = {}""",
    "no such choice": "UPDATE trial_params SET param_value = 77 WHERE param_name = 'optimizer' AND trial_id = {}",
    "a missing value": "UPDATE trial_values SET value = NULL WHERE trial_id = {}",
    "a value of no objective": "UPDATE trial_values SET objective = 5 WHERE trial_id = {}",
    "no json": "UPDATE trial_user_attributes SET value_json = 'text' WHERE trial_id = {}",
    "endless nesting": f"UPDATE trial_user_attributes SET value_json = '{'[' * 100_000}' WHERE trial_id = {{}}",
    "no number": "UPDATE trials SET number = NULL WHERE trial_id = {}",
}
ODD_IN_SQLITE = {
    "a text among values": "UPDATE trial_intermediate_values SET intermediate_value = 'many' WHERE trial_id = {}",
    "a text among parameters": "UPDATE trial_params SET param_value = 'many' WHERE trial_id = {}",
    "a text as number": "UPDATE trials SET number = 'many' WHERE trial_id = {}",
    "a text as time": "UPDATE trials SET datetime_start = 'soon' WHERE trial_id = {}",
    "a number as time": "UPDATE trials SET datetime_start = '2024' WHERE trial_id = {}",
    "bytes that are no text": "UPDATE trial_user_attributes SET value_json = CAST(x'22ff' AS TEXT) WHERE trial_id = {}",
}
