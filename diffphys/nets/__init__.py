"""Networks as Equinox modules: functions of one image (channels, *cells), aware of the sides of the domain."""

from diffphys.nets.convolution import Convolution as Convolution
from diffphys.nets.convolution import convolve as convolve
from diffphys.nets.resnet import ResNet as ResNet
from diffphys.nets.resnet import count_parameters as count_parameters
