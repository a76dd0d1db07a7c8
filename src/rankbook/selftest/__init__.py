"""Checks of this very machine: ``python -m rankbook.selftest [--gpu] [--minutes M] [--out DIR]``.

It starts real ranks, hangs them, kills them, and says in one report what works here. Each *part* is
a list of *steps* in a process of its own, so that whatever happens there, the report is written.

===============  =====================================================================
module           its one job
===============  =====================================================================
``__main__``     the command line
``steps``        what a step, a part and an outcome are
``parts``        which parts there are, the most important first
``parent``       runs each part in a child, within bounds of time
``child``        runs the steps of one part, and tells the parent
``report``       outcomes as text and as JSON
``machine``      versions, system and GPUs of this machine
``notebook``     a Python process that uses rankbook and is killed
``walk``         the steps of a session on CPUs
``nccl``         the steps of a session with a rank on each GPU
``nccl_hangs``   the steps of one whose ranks hang
``memory``       the steps about what is left on a GPU
``shared``       the steps of ranks that share a GPU
``visible``      the steps about ``CUDA_VISIBLE_DEVICES``
===============  =====================================================================
"""
