"""Utterances: what is spoken in which order, what was heard of it, and voices that read text."""
