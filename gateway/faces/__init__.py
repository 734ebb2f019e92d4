"""The HTTP faces: REST, FHIR, CDS Hooks, ledger and trust, other gateways, operations.

A face reads a request strictly, calls one service, and renders the answer or the failure in its own shape.
"""
