"""The promises of the locks, run against every face on every host; one file per risk.

A promise is a function ``check_...(make, host)`` that raises AssertionError where it is broken. The
tests call it with good locks, and `test_broken_locks` calls it with faulty ones and expects the
error. `worlds` and `hosts` say where contestants run, `subjects` what they contend for.
"""
