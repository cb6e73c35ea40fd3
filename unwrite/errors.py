"""The one exception that means "the person can mend this": shown as one or two lines, exit code 1, no traceback."""


class UnwriteError(Exception):
    """An expected error.

    Its message says what came, what was expected and what to do. Anything else that is raised is a bug and keeps
    its traceback.
    """
