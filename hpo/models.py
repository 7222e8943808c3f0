"""Parameters -> Keras model. Models come out uncompiled: the training engine brings optimizer and loss."""

import keras

from hpo.parameters import MLPParameters


def mlp(parameters: MLPParameters, input_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Build a multilayer perceptron: flatten, hidden layers with ReLU, softmax.

    Input shape: (batch, *input_shape), float32; images arrive scaled to [0, 1].
    Output shape: (batch, n_classes), probabilities.
    """
    layers: list[keras.Layer] = [keras.Input(input_shape), keras.layers.Flatten()]
    layers += [keras.layers.Dense(parameters.width, activation="relu") for _ in range(parameters.n_layers)]
    layers.append(keras.layers.Dense(n_classes, activation="softmax"))
    return keras.Sequential(layers)
