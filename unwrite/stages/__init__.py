"""One script per stage: read files, call the library, write files."""

import sys

if sys.argv[0] == "-m":  # Python is about to run one of them, whose imports take seconds
    from unwrite.pipeline.start import start_stage

    start_stage(sys.orig_argv)
