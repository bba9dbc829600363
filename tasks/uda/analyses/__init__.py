"""The figures of the paper on gradient harmonization, from stored runs: `python -m benchmarks analyse RESULTS`."""
