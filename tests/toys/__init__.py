"""Families that exist in the tests only: they show what the package's seams can carry."""

from ecg_transformers.auto import Architecture, register

TOYS: dict[str, Architecture] = {
    row.model_type: row
    for row in (
        # Any registered encoder inside another family.
        Architecture("toy_simclr", "ToySimclr", package="tests.toys.toy_simclr"),
        # A family without a classifier.
        Architecture(
            "toy_autoencoder", "ToyAutoencoder", heads=("encoder", "pretraining"), package="tests.toys.toy_autoencoder"
        ),
    )
}
# The auto classes know them; the table of the package does not, unless a test puts them there.
register(TOYS.values())
