"""xresnet1d: the convolutional network of the PTB-XL benchmark, and encoder of three self-supervised systems."""
