"""The thread face under every preemption: real threads, one at a time, stopped between opcodes.

A scenario (`scenarios`) is a few lines for two threads. A *plan* says at which points the running
thread is preempted; what others call a schedule, which here is a rule for delays. `scheduler` plays
a scenario by a plan, on real threads with the real faces, which `tracing` stops. `points` says
where a preemption can make a difference, `plays` what must hold. `search` plays all plans with so
many preemptions; `faults` holds faulty locks that it must find.

    python -m tests.preemption                     every plan with up to 2 preemptions
    python -m tests.preemption --exhaustive        with up to 3
    python -m tests.preemption --replay one-each-strict:4,17
"""
