"""iWave++ (Ma et al. 2020): a trained wavelet transform, lossy and lossless from one model."""
