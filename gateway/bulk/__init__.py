"""Names by the million: files in, answers out, in the order of the input.

A row of any file becomes a *key*: the texts of the fields of :class:`mapping.LocalName`, in their order.
Equal keys have equal answers, so that a name is read once however often it stands in a file. What reads and
writes is here; what a name means is :class:`mapping.Normaliser` alone, on one machine and on a cluster:

- :mod:`gateway.bulk.rows` streams the keys of a CSV, JSON-lines, Excel or Parquet file, or of a part of it;
- :mod:`gateway.bulk.answers` reads keys and writes answers, whole files at a time: what is written stands
  under its name only when it is complete;
- :mod:`gateway.bulk.cluster` does the same over the parts of a file, on the workers of a Dask cluster.
"""

from gateway.bulk.answers import FIELDS, Reader, write_answers
from gateway.bulk.cluster import Cluster, Report, map_parts
from gateway.bulk.errors import BulkRefused
from gateway.bulk.rows import Key, Rows, open_rows

__all__ = [
    "FIELDS",
    "BulkRefused",
    "Cluster",
    "Key",
    "Reader",
    "Report",
    "Rows",
    "map_parts",
    "open_rows",
    "write_answers",
]
