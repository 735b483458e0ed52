"""bkind3d_lite: a 3D skeleton that nobody labelled, from synchronized, calibrated videos (BKinD-3D, Sun et al., CVPR 2023).

Everything lies on one street, and modules import only earlier ones; `docs/architecture.md` walks it:
clip -> batch -> heatmaps -> volume -> 3D keypoints -> projected edges -> reconstruction -> losses, and clip -> track -> use.
"""

__version__ = "0.1.0"

import os

# Large pages for large tensors: touching new memory in pages of 4 kB costs a CPU more than a normalization's arithmetic.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
