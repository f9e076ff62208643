"""backofflock measured beside the locks it could replace: ``python -m benchmarks --help``.

Imports point down: the command line stands on the report and the charts, these on the bars and the
runner, these on the workloads, these on the peers and the cells.
"""
