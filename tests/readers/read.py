"""Prints the rows of a folder of Parquet files as one reader sees them, a JSON object a line: read.py READER FOLDER."""

import json
import sys


def pyarrow(folder):
    import pyarrow.dataset

    return pyarrow.dataset.dataset(folder, partitioning="hive").to_table()


def duckdb(folder):
    import duckdb

    files = f"{folder}/**/*.parquet"
    rows = duckdb.connect().sql("select * from read_parquet(?, hive_partitioning = true)", params=[files])
    return rows.to_arrow_table()


def polars(folder):
    import polars

    return polars.scan_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).collect().to_arrow()


if __name__ == "__main__":
    _, reader, folder = sys.argv
    table = {"pyarrow": pyarrow, "duckdb": duckdb, "polars": polars}[reader](folder)
    for row in table.to_pylist():
        print(json.dumps(row))
