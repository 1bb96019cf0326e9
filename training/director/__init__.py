"""The director: performances for given speech, as training truth."""
