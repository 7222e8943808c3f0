"""What other programs do to a database."""

from hpo.database import Store


def change(store: Store, *statements: str) -> None:
    """Do to the tables what another program could."""
    with store.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
