"""Every interleaving of small worlds: the real faces and machine on loops and a clock of our own.

``python -m tests.exhaustive`` visits them all, depth first, and says how many there were.
"""
