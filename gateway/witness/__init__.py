"""Checkpoints between gateways: cosigned, compared, and held against the own database."""
