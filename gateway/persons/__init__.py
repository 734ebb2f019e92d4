"""Who is asked about: pseudonyms from one rate-limited service, and what the patient allows."""
