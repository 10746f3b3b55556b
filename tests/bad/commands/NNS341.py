import pyomo.environ as pyo

import nnspec

model = pyo.ConcreteModel()
model.price = pyo.Var(bounds=(0, 10))
nnspec.embed(model, "demand.onnx", [model.price])
