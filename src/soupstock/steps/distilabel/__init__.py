"""distilabel's tasks, bound so that this engine carries them out.

A task's own `process` runs, with `format_input` and `format_output` within it, against a model that
has the answers so far and stops it at the first question that has none. So a task of several rounds
is the same to the engine as one of a single question, and what comes of the same answers is what
distilabel makes of them.
"""
