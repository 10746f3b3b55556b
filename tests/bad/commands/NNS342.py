import pyomo.environ as pyo

import nnspec

model = pyo.ConcreteModel()
model.price = pyo.Var(bounds=(0, 10))
model.ads = pyo.Var()
nnspec.embed(model, "demand.onnx", [model.price, model.ads])
