"""Answers: what a person says or types goes to a language model, and its sentences are spoken."""
