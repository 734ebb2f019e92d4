"""The ledger for auditors: exports, evidence of one decision, AuditEvents, and what is erased when."""
