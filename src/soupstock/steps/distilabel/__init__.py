"""distilabel's tasks, bound so that this engine carries them out.

A task's own `process` runs, and calls `format_input` and `format_output`, with a model that returns
the answers so far and stops it at the first question without an answer. So the engine takes a task
of several rounds like a task of one question, and the outputs are those that distilabel makes.
"""
