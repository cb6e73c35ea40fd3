"""Find and prove the residual writers of a model.

`writers` is the entry point. It runs a `miniature` (built from a config made small by `narrowing`, in `float64`). In
each layer it searches for the `branches` that add to the stream and for the `parameters` (and `experts`) by which they
write, proves that none is missed (`proof`), and distinguishes attention from MLP (`components`). Parameters that layers
share are one writer (`sharing`). `probes` has the hooks that all of these use, `findings` has the records they return,
and `padding` measures whether prompts can be padded.
"""
