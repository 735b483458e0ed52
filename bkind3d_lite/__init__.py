"""bkind3d_lite: a 3D skeleton that nobody labelled, from synchronized, calibrated videos (BKinD-3D, Sun et al., CVPR 2023).

Everything lies on one street, and the modules import only upwards:
shapes, files, cameras, videos, clips, edges, synthetic, volumes, motion, networks, lifts, losses, model, training,
evaluation, overlays, views, report, quickstart; exercises, lab, grading for courses.
"""

__version__ = "0.1.0"

import os

# Large pages for large tensors: touching new memory in pages of 4 kB costs a CPU more than a normalization's arithmetic.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
