"""The demonstration network: synthetic people and studies, real servers on loopback, first questions.

``people``, ``studies`` and ``records`` make the data, the same on every machine for one moment of asking;
``peers`` starts and stops the servers that hold them. Nothing is imported here, so that a test that needs one
server does not pay for the rest.
"""
