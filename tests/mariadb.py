"""Helpers for tests on MariaDB: the servers, and a driver under the name that Django imports."""

from __future__ import annotations

import pymysql
import pytest

from pindb.testing.mariadb import find_mariadb

# The version of mysqlclient that Django 6.1 asks for; 5.2 is content with less.
MYSQLCLIENT = (2, 2, 1, "final", 0)

needs_mariadb = pytest.mark.skipif(
    find_mariadb() is None,
    reason='no mariadbd or no mariadb-install-db: install the system\'s package "mariadb-server"',
)


def use_pymysql() -> None:
    """Let Django's MySQL backend run on PyMySQL, which needs no compiler, in the place of mysqlclient.

    To be called before the first connection is made. Safe to call again.
    """
    pymysql.version_info = max(pymysql.version_info, MYSQLCLIENT)
    pymysql.install_as_MySQLdb()
