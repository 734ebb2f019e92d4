"""Who may ask, for what and how often: clients, their keys and tokens, scopes, rates, replay."""
