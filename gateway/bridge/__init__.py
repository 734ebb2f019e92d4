"""An archive that speaks only DIMSE, behind a small DICOMweb server: for a gateway it is a node like others.

``lianren bridge`` runs it beside the archive. A query becomes a C-FIND, a retrieval a C-MOVE to a C-STORE
SCP of its own (or a C-GET), a STOW-RS request C-STOREs. Nothing is kept: instances go through the spool on
their way and are gone.
"""

from gateway.bridge.app import create_bridge
from gateway.bridge.values import Archive, archive_of, title_of

__all__ = ["Archive", "archive_of", "create_bridge", "title_of"]
