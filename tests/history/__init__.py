"""The peers' history: the known bugs of other locks, one test for each class of them.

Each test is named after its bug, runs on every face and host that the bug can touch, and has the
public reference in its docstring. Where the contract has the check already it is called from there.
A test whose name ends in ``_bites`` shows the bug itself, on a lock of `naive` or of the standard
library: so it is seen that the test beside it would catch it.
"""
