"""Continuum inside other people's agents: one package for each framework (docs/integrations.md).

They run in the agent's environment: none of them imports the model, and each needs its framework,
aiohttp, aiortc, av and numpy alone.
"""
