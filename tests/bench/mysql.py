"""Part `mysql`: a private MariaDB on both ends, over its socket.

extract: order_item into an empty lake, against ConnectorX that reads it into Arrow and PyArrow that writes zstd Parquet;
export: a table into an empty database, against the client's LOAD DATA LOCAL INFILE of the same rows.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tomllib

from measure import HERE, ROOT, emptied

FILL = """
create database mall;
create database app;
create user bench@'%' identified by 'bench';
grant binlog monitor on *.* to bench@'%';
grant select on mall.* to bench@'%';
grant select, insert, update, delete, create, alter, drop on app.* to bench@'%';
use mall;
create table order_item (order_id bigint, goods_id bigint, goods_amount bigint, curr_price decimal(18,2),
    create_time datetime, primary key (order_id, goods_id), key (create_time));
insert into order_item select seq div 3 + 1, seq * 7919 % 20011 + seq % 3 * 20011, seq % 5 + 1, seq * 7907 % 300000 / 100,
    '2026-01-01' + interval seq * 30 * 86400 div {items} second from seq_0_to_{last};
analyze table order_item;
"""

SETTINGS = """timezone = "Asia/Shanghai"
[lake]
url = "warehouse/lake"
[sources.orders]
url = "mysql://bench:bench@localhost/mall?socket={socket}"
tls = "off"
[exports.metrics]
url = "mysql://bench:bench@localhost/app?socket={socket}"
tls = "off"
"""

MODEL = """-- {what}
--
-- grain: dt, order_id, goods_id
-- check: goods_amount > 0
{export}
select dt, order_id, goods_id, goods_amount, curr_price, create_time{more}
from {source}
where dt = $dt{where}
"""

SUMS = "count(*) as n, sum(order_id) as o, sum(goods_id) as g, sum(goods_amount) as a, sum(curr_price) as p"


def run(part):
    with server(part) as (socket, port):
        client = ["mariadb", "--no-defaults", f"--socket={socket}", "--user=root", "--local-infile=1"]
        asked = [*client, "--batch", "--skip-column-names", "--execute"]
        items = part.sizes["MYSQL_ITEMS"]
        subprocess.run(client, input=FILL.format(items=items, last=items - 1), text=True, check=True, stdout=subprocess.DEVNULL)
        project = project_in(part, socket)
        command = [part.strata, "--project", project, "--threads", part.threads, "--memory", part.memory, "--quiet"]
        extract(part, command, project, port, asked)
        part.done([*command, "build", "--to", "2026-01-31"])
        part.done([*command, "export"])
        export(part, command, client, asked)


@contextlib.contextmanager
def server(part):
    folder = emptied(part.work / "server")
    env = {**os.environ, "STRATA_MARIADB_OPTIONS": "--innodb-buffer-pool-size=1G"}
    subprocess.run([ROOT / "scripts/mariadb", "stop", folder], capture_output=True)
    started = subprocess.run([ROOT / "scripts/mariadb", "start", folder], env=env, capture_output=True, text=True)
    try:
        if started.returncode:
            raise SystemExit(f"error: scripts/mariadb start\n{started.stderr}")
        yield re.search(r"socket=([^'\"\s]+)", started.stdout)[1], (folder / "port").read_text().strip()
    finally:
        subprocess.run([ROOT / "scripts/mariadb", "stop", folder], check=True)


def project_in(part, socket):
    """A project of the one table and of one exported model, that many of its rows as are asked for."""
    project = emptied(part.work / "project")
    for folder in ("conf/sources", "sql/dwd", "sql/app"):
        (project / folder).mkdir(parents=True)
    text = (ROOT / "conf/sources/orders.toml").read_text()
    (table,) = [piece for piece in text.split("[[table]]") if 'name = "order_item"' in piece]
    declared = f'kind = "tables"\nfirst_day = "dwd_line"\n\n[[table]]{table}'
    tomllib.loads(declared)
    (project / "conf/sources/orders.toml").write_text(declared)
    (project / "conf/warehouse.toml").write_text(SETTINGS.format(socket=socket))
    line = MODEL.format(what="A line of an order.", export="", more="", source="ods_order_item", where="")
    (project / "sql/dwd/dwd_line.sql").write_text(line)
    more = ", money_ratio(curr_price, goods_amount) as piece_price, 'line-' || cast(goods_id as varchar) as label"
    where = f" and order_id <= {part.sizes['MYSQL_ROWS'] // 3}"
    told = "A line of an order, as dashboards would read it."
    line = MODEL.format(what=told, export="-- export: metrics\n", more=more, source="dwd_line", where=where)
    (project / "sql/app/app_line.sql").write_text(line)
    return project


def extract(part, command, project, port, asked):
    out = part.work / "order_item.parquet"
    peer = part.has("connectorx")
    for _ in part.rounds():
        shutil.rmtree(project / "warehouse", ignore_errors=True)
        part.measured("extract", "strata", [*command, "ingest", "orders", "--to", "2026-01-31"])
        if peer:
            url = f"mysql://bench:bench@127.0.0.1:{port}/mall"
            part.measured("extract", "connectorx", [part.python, HERE / "read_order_item.py", url, out])
    landed = part.done([*command, "query", "--format", "csv", f"select {SUMS} from ods_order_item"]).splitlines()[-1]
    there = part.done([*asked, f"select {SUMS} from mall.order_item"]).strip().replace("\t", ",")
    if landed != there:
        raise SystemExit(f"error: landed {landed}, and the server has {there}")
    part.note(f"Equal: rows and 4 sums of the lake and of the server ({landed}).")


def export(part, command, client, asked):
    rows = part.work / "rows.tsv"
    with open(rows, "w") as file:
        subprocess.run([*asked, "select * from app.app_line"], stdout=file, check=True)
    shown = part.done([*asked, "show create table app.app_line\\G"])
    table = "create table app.loaded" + re.search(r"CREATE TABLE `app_line`(.*)", shown, re.DOTALL)[1]
    load = f"load data local infile '{rows}' into table app.loaded character set utf8mb4"
    for _ in part.rounds():
        part.done([*asked, "drop database app; create database app"])
        part.measured("export", "strata", [*command, "export"])
        part.done([*asked, table])
        part.measured("export", "load data", [*client, "--execute", load])
        sums = part.done([*asked, "checksum table app.app_line, app.loaded"]).splitlines()
        if len({line.split("\t")[1] for line in sums}) != 1:
            raise SystemExit("error: the two tables differ")
    part.note("Equal: the checksums of the exported and of the loaded table, after each round.")
    rows.unlink()
