"""Opens every Delta table of a lake with the deltalake package: name, version, rows, sums.

    python check_lake.py LAKE

Shows that an engine which knows nothing of the tool reads what it wrote.
"""

import os
import sys

from deltalake import DeltaTable

import lake

SUMMED = ("byte", "short", "integer", "long", "float", "double")


def main(root):
    found = lake.tables(root)
    for name, folder in found.items():
        version = DeltaTable(folder).version()
        numeric = [
            column
            for column, kind in lake.columns(folder).items()
            if kind in SUMMED or kind.startswith("decimal")
        ]
        sums = "".join(f', cast(sum("{column}") as varchar)' for column in numeric)
        ((rows, *totals),) = lake.query(folder, f"select count(*){sums} from t")
        print(f"{name}  version {version}  {rows} rows")
        for column, text in zip(numeric, totals):
            print(f"    sum({column}) = {text}")
    print(f"{len(found)} tables")
    return 0 if found else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    code = main(sys.argv[1])
    sys.stdout.flush()
    # Threads of pyarrow that are still there would sometimes abort an ordinary exit.
    os._exit(code)
