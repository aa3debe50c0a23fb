"""SI-BeatGAN for the conformance tests: with the contrast of V2, and without a teacher."""

from typing import ClassVar

from .beatgan import BeatganTester


class SiBeatganTester(BeatganTester):
    """The networks of the tester of BeatGAN; what needs a teacher is in `tests/models/test_si_beatgan.py`."""

    model_type = "si_beatgan"
    config_fields: ClassVar = {
        **BeatganTester.config_fields,
        "output_distillation_weight": 0.0,
        "latent_distillation_weight": 0.0,
        "contrastive_weight": 0.1,
        "projection_size": 6,
        "negatives": "exclude_nearest",
    }
    draws_change_the_loss = True
