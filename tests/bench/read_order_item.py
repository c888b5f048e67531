"""The peer of the extract: python read_order_item.py URL OUT reads the table over two connections, into zstd Parquet."""

import sys

import connectorx
import pyarrow.parquet

QUERY = "select order_id, goods_id, goods_amount, curr_price, create_time from order_item"

url, out = sys.argv[1:]
table = connectorx.read_sql(url, QUERY, partition_on="order_id", partition_num=2, return_type="arrow")
pyarrow.parquet.write_table(table, out, compression="zstd")
