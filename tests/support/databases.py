"""The databases that sinks fill, each with what a test asks of it."""

import sqlite3

import duckdb
from adbc_driver_manager import Error


class Sqlite:
    """A file in a directory."""

    name = "sqlite"

    def __init__(self, root):
        self.path = root / "host.sqlite"
        self.address = str(self.path)

    def sink(self, table="imu", more=""):
        """As a pipeline writes it."""
        return f'sqlite("{self.address}", table="{table}"{more})'

    def rows(self, sql):
        if not self.path.exists():
            return []
        database = sqlite3.connect(self.path)
        try:
            return database.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            database.close()

    def do(self, *statements):
        database = sqlite3.connect(self.path, isolation_level=None)
        for sql in statements:
            database.execute(sql)
        database.close()

    def drop(self, table="imu"):
        self.do(f'drop table if exists "{table}"', "drop table if exists flowedge_places")


class Duckdb(Sqlite):
    """A file in a directory, of another kind."""

    name = "duckdb"

    def __init__(self, root):
        super().__init__(root)
        self.path = root / "host.duckdb"
        self.address = str(self.path)

    def sink(self, table="imu", more=""):
        return f'duckdb("{self.address}", table="{table}"{more})'

    def rows(self, sql):
        if not self.path.exists():
            return []
        with duckdb.connect(self.path) as database:
            try:
                return database.execute(sql).fetchall()
            except duckdb.CatalogException:
                return []

    def do(self, *statements):
        with duckdb.connect(self.path) as database:
            for sql in statements:
                database.execute(sql)


class Postgres:
    """Tables in a server of the tests' own."""

    name = "postgres"

    def __init__(self, cluster):
        self.cluster, self.address = cluster, cluster.address
        self.do("drop schema public cascade", "create schema public")

    def sink(self, table="imu", more=""):
        return f'postgres("{self.address}", table="{table}"{more})'

    def rows(self, sql):
        try:
            return self.cluster.rows(sql)
        except Error as error:
            if error.sqlstate == "42P01":  # no such table
                return []
            raise

    def do(self, *statements):
        self.cluster.do(*statements)

    def drop(self, table="imu"):
        self.do(f'drop table if exists "{table}"', "drop table if exists flowedge_places")
