"""Tasks: what keypoints are good for - behaviour and action recognition, and published test sets.

pose_features -> behaviour_networks -> behaviour -> behaviour_scores -> labelled -> calms21,
simple_h36m.
"""

from .behaviour import BehaviourClassifier
from .behaviour_scores import BehaviourScores, score_behaviour
from .labelled import Acts, read_acts
from .pose_features import PoseFeatures

__all__ = [
    "Acts",
    "BehaviourClassifier",
    "BehaviourScores",
    "PoseFeatures",
    "read_acts",
    "score_behaviour",
]
