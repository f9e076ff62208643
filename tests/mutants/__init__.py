"""Deliberate faults, and the proof that the tests find every one of them.

A mutant is one fault in one source file: the text that is right, the text that is wrong, and the
tests that must fail of it. ``python -m tests.mutants`` applies each in turn to a copy of the
project, runs its tests there and prints the table; it ends with 1 if a fault goes unnoticed.
"""
