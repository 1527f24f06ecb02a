"""Teacher and student for Fashion-MNIST that many benchmarks share.

5,000 labeled images for the student; a teacher trained on 50,000. Settings are chosen on 5,000
training images that no model is trained on.
"""

from benchmarks.shared.training import (
    build_cnn,
    compile_and_fit,
    load_arrays,
    load_or_train,
    sparse_loss,
)

DATA = "fashion_mnist"
VALIDATION = "train[50000:55000]"


def student_images():
    """Return the labeled images of the student as arrays (x, y)."""
    return load_arrays(DATA, "train[:5000]")


def build_student(seed):
    return build_cnn("student", (8, 16), 32, seed=seed)


def load_teacher(quick=False):
    """Return a teacher of 2.4 M parameters, trained on the first 50,000 images."""

    def train():
        model = build_cnn("teacher", (32, 64), 760, dropout=0.4, seed=1000)
        x, y = load_arrays(DATA, "train[:50000]")
        epochs = 1 if quick else 6
        compile_and_fit(model, x, y, loss=sparse_loss(), learning_rate=1e-3, epochs=epochs)
        return model

    return load_or_train(f"fashion_teacher{'_quick' if quick else ''}", train)
