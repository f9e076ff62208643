"""A soak: everybody at once on the same two locks, for minutes, with whatever can go wrong.

Threads, two asyncio loops and a trio run share one `ThreadBackoffLock`; the tasks share one
`BackoffLock` as well. Meanwhile tasks are cancelled, timeouts pass, loops are closed under their
waiters or blocked, the process forks, and garbage is collected that stands in the queue or uses the
lock in its finalizer. In the end it is counted: sections entered, overlaps, keys lost, what is left
behind. ``python -m tests.soak --help`` tells how to run it.
"""
