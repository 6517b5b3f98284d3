"""To and from other libraries: xarray and NetCDF, ParaView (VTK), The Well's HDF5 files, PyTorch.

Libraries that not everybody has are extras, imported where they are used; a sentence says how to install them.
"""

from diffphys.exchange.arrays import from_xarray, to_xarray
from diffphys.exchange.paraview import load_vtk, save_vtk
from diffphys.exchange.pytorch import to_torch
from diffphys.exchange.the_well import load_well, save_well


__all__ = ["to_xarray", "from_xarray", "save_vtk", "load_vtk", "save_well", "load_well", "to_torch"]
