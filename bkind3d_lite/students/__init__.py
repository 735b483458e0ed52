"""Students: 3D poses from one image, taught by labels of several cameras (EpipolarPose)."""
