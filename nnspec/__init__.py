"""nnspec: train small neural networks to proven global optimality, from a declarative spec."""

__version__ = "0.1.0"
