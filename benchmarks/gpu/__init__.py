"""What no CPU can prove about the fast paths, on one CUDA device: ``python -m benchmarks.gpu``.

bench.py     rows, verdicts, timing: what checks share
subjects.py  the networks in published shapes, with random weights
kernels.py   kernels, attention, linears, against torch's own
models.py    chunks, streams, profiles, decoder, graphs, compilation
memory.py    offload, 24 GB, residence, what a start costs the host
runner.py    one process for each check, bounded in time; table and JSON
"""
