"""Distributed locks beside what a user would pick instead: ``python -m benchmarks.fleet --help``.

The servers are real ones of this machine. Imports point down: the command line stands on the report
and the charts, these on the bars and the measuring, this on the workers, these on the peers and the
cells. What is not about fleets comes from the suite next door.
"""
