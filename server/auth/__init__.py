"""Who may do what: keys, tokens, rate limits, quotas."""
