"""Supervision: a function in a process of its own, and how that ended, whatever happens.

Which process starts which, and the modules that do it::

    supervise.run_supervised    the client, in a job of the workflow: writes the target into a
      |                         private folder and asks for a process (spec.ProcessSpec)
    monitor                     starts that process, watches it and all that it started (tree), ends
      |                         them at a limit or when client or workflow are gone (spec.Ending)
    child                       that process, as start lets it begin: calls the target and leaves
                                its value or exception in the folder (child.Finished)

    outcome.conclude            in the client again: an Outcome from the ending and the folder

The monitor is a program of its own, which starts a fresh interpreter, or a fork of the fork server,
which forks again: `forkserver` (as its clients see it), `forkserver_main` (its program), `preload`
(what it imports).
"""
