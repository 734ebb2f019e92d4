"""FHIR R4 resources as a server keeps and finds them, whatever store they lie in.

What comes in is checked (:mod:`gateway.resources.intake`) and its bytes are kept as they came: a decimal that
was parsed and written again is another one (72.50 becomes 72.5), and a signature over it breaks. The REST
interactions (:mod:`gateway.resources.interactions`) work on a :class:`~gateway.resources.values.Shelf`;
searches are conditions (:mod:`gateway.resources.conditions`) and written as searchsets
(:mod:`gateway.resources.searchset`). The ``lianren source`` beside a hospital's own system and the gateway's
published nodes are two shelves under one set of rules.
"""
