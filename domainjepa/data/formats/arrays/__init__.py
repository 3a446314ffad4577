"""NumPy arrays: `.npy`, `.npz`, and folders of them."""
