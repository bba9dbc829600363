"""The figures of the paper on gradient harmonization, from stored runs: `python -m benchmarks analyse RESULTS`.

Nothing is imported here, so that a command line can know of the command without the libraries that draw.
"""
