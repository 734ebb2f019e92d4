"""Bulk export for auditors (HL7 Bulk Data Access 2): decisions and AuditEvents as NDJSON.

An export is a *cut*: from which place to which of the ledger, and of which time the decisions. It is kept as
a document of some hundred bytes; its files are written while they are fetched, out of ledger and store, with
a page in memory at a time. So an export is complete as soon as it is asked for, survives a restart, can be
fetched from any replica and again after a broken connection, and leaves no copy behind: what is erased
meanwhile is gone from its files as well.
"""

from gateway.exporting.exporting import LIFE, TYPES, Cut, Exporting, File, ends

__all__ = ["LIFE", "TYPES", "Cut", "Exporting", "File", "ends"]
