"""The activations and losses of the engine by number, as the compiled functions know them. Imports nothing heavy."""

ACTIVATIONS = (
    "linear", "relu", "leaky_relu", "abs", "hardtanh", "sign", "step", "tanh", "sigmoid", "softplus", "gelu", "silu",
)  # fmt: skip
LINEAR, RELU, LEAKY, ABS, HARDTANH, SIGN, STEP, TANH, SIGMOID, SOFTPLUS, GELU, SILU = range(12)

LOSSES = (
    "sse", "sae", "pinball", "huber", "hinge", "squared_hinge", "logistic", "cross_entropy", "class_hinge",
    "class_squared_hinge", "max_error",
)  # fmt: skip
SSE, SAE, PINBALL, HUBER, HINGE, SQUARED_HINGE, LOGISTIC, CROSS_ENTROPY, CLASS_HINGE, CLASS_SQUARED, MAX_ERROR = range(
    11
)
