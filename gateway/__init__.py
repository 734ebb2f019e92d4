"""The service: settings, wiring, broker, the HTTP faces, and the command line.

Nothing is exported here: the room is a program, not a library. It is entered by :mod:`gateway.cli` and by
:func:`gateway.app.create_app`.
"""
