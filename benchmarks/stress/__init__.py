"""Stress: what many threads, peers and failures at once do to the house, bounded and seeded.

One file per subject, each with ``run(rounds, seed)``, which returns counts and raises where
something is not as it must be. Under ``python -X faulthandler`` a crash shows where it was.
"""
