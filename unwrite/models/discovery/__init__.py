"""How the residual writers of a model are found and proven.

`writers` is the entrance. It runs a `miniature` (built from a config made small by `narrowing`, in `float64`). In each
layer it searches for the `branches` that add to the stream and for the `parameters` (and `experts`) by which they
write, has `proof` that none is missed, and tells attention from MLP (`components`). Parameters that layers share are
one writer (`sharing`). `probes` has the hooks that all of these use, `findings` has the records they return, and
`padding` tells whether prompts can be padded.
"""
