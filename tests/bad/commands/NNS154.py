from dataclasses import replace

import nnspec

problem = nnspec.load("xor.nns")
network = problem.networks["f"]
hidden = network["h"]
empty = replace(hidden.weights, lo=hidden.weights.lo + 9)
layers = tuple(replace(layer, weights=empty) if layer is hidden else layer for layer in network.layers)
nnspec.compile(replace(problem, networks={"f": replace(network, layers=layers)}))
