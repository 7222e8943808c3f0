"""How a script has its rows from a study's Stream, as Python code: an epoch after the other, for one call of fit."""

from hpo.definition import Excerpt, predicts_classes
from hpo.finish.fitting import Setting

VAL_BATCH_SIZE = 250


def streamed_code(setting: Setting, cut: Excerpt) -> list[str]:
    """Return lines that make `stream`, and the function `batches` of all epochs' rows, with the weights of classes."""
    training, weights = setting.parameters.training, setting.definition.class_weight
    lines = [f"stream = {cut.expressions['dataset']}"]
    if weights is not None:
        n_classes = setting.dataset.n_classes
        given = cut.expressions["class_weight"]
        lines.append(f"of_class = np.array([({given}).get(number, 1.0) for number in range({n_classes})])")
    lines += ["", "def batches():", f"    for epoch in range({training.epochs}):"]
    call = f"stream.train(SEED + epoch, {training.batch_size})"
    if weights is None:
        return [*lines, f"        yield from {call}", ""]
    is_one_hot = not predicts_classes(setting.definition) and setting.dataset.y.ndim == 2
    is_one_hot = is_one_hot and setting.dataset.y.shape[1] > 1
    classes = f"np.asarray(y).{'argmax(axis=1)' if is_one_hot else 'reshape(-1).astype(int)'}"
    return [*lines, f"        for x, y in {call}:", f"            yield x, y, of_class[{classes}]", ""]


def fitted_code(setting: Setting) -> list[str]:
    """Return the lines that call fit, up to its options."""
    training = setting.parameters.training
    return [
        "history = net.fit(",
        f"    batches(), steps_per_epoch=len(stream.train(SEED, {training.batch_size})), epochs={training.epochs},",
        f"    validation_data=stream.validation({VAL_BATCH_SIZE}), callbacks=watchers, verbose=2,",
        ").history",
    ]
