"""Networks as Equinox modules: functions of one image (channels, *cells), aware of the sides of the domain."""

from diffphys.nets.cnn import CNN
from diffphys.nets.convolution import Convolution, convolve
from diffphys.nets.mlp import MLP
from diffphys.nets.resnet import ResNet, count_parameters
from diffphys.nets.unet import UNet


__all__ = ["MLP", "CNN", "Convolution", "ResNet", "UNet", "convolve", "count_parameters"]
