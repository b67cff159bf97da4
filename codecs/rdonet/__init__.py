"""RDONet: learned image compression with variable depth (Brand et al., CLIC 2022)."""
