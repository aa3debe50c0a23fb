"""SI-BeatGAN: a BeatGAN trained with a finished one as teacher, with or without contrast of warped beats."""
