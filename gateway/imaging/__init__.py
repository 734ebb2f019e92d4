"""Prior images over all archives (PS3.18): viewings, lists, images, and what is stored."""
