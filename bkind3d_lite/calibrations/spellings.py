"""How camera files spell their fields, and which lens models they speak of.

Names are compared without case, blanks and underscores; what a tool wrote is found whatever it is
called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

NAMES = {
    "matrix": """matrix k kmat kmatrix intrinsics intrinsic intrinsicmatrix intrinsicsmatrix
        intrinsicparameters cameramatrix cammatrix cammat camerak calibrationmatrix mtx intr
        intrinsicsk newcameramatrix""",
    "rotation": """r rot rotation rotations rvec rvecs rotationmatrix rotationvector rotmat rmat
        rotvec rvector rodrigues rodriguesvector rmatrix rotationrodrigues extrinsicsr""",
    "translation": """t trans translation translations tvec tvecs translationvector tvector
        translationmatrix extrinsicst""",
    "distortions": """distortions distortion dist distcoef distcoefs distcoeff distcoeffs
        distcoefficients distortioncoef distortioncoefs distortioncoeff distortioncoeffs
        distortioncoefficient distortioncoefficients distortionvector distortionparams
        distortionparameters distortionmatrix distparams lensdistortion lensdistortions
        lensdistortioncoefficients lensdistortionparams cameradistortion
        cameradistortioncoefficients coeffs coefficients coef d""",
    "radial": """radialdistortion radialdistortions rdistort radial radialcoefficients
        radialcoeffs radialcoef distortionradial radialparams kc""",
    "tangential": """tangentialdistortion tangentialdistortions tangentaldistortion tdistort
        tangential tangentialcoefficients tangentialcoeffs distortiontangential""",
    "size": """size sizes imagesize imsize imgsize resolution imageresolution videoresolution
        framesize videosize wh imagewh imgwh widthheight cameraresolution imageres
        imagedimensions dimensions sensorresolution""",
    "hw": "shape hw imageshape imgshape imshape frameshape imagehw heightwidth",
    "width": "width w imagewidth imgwidth imwidth framewidth resw resx videowidth imagew imgw",
    "height": "height h imageheight imgheight imheight frameheight resh resy videoheight imageh "
    "imgh",
    "focal": "f focal focallength focallengths focallengthpx focalpx fxfy focalpixels",
    "fx": "fx flx focalx fu focallengthx alphax",
    "fy": "fy fly focaly fv focallengthy alphay",
    "centre": "c cxcy pp principalpoint principalpointpx principle principal opticalcenter",
    "cx": "cx ppx cu u0 principalpointx x0",
    "cy": "cy ppy cv v0 principalpointy y0",
    "skew": "skew s gamma",
    "extrinsic": """extrinsic extrinsics extrinsicmatrix extrinsicsmatrix w2c world2cam worldtocam
        worldtocamera world2camera rt viewmatrix tcw worldtocammatrix extrinsicparameters""",
    "projection": "p pmat projection projectionmatrix projmat cameraprojectionmatrix",
    **{f"k{i}": f"k{i} radial{i} radialdistortion{i} distortionk{i}" for i in range(1, 7)},
    **{f"p{i}": f"p{i} tangential{i} tangentialdistortion{i} distortionp{i}" for i in (1, 2)},
}
MEANT = {name: field for field, names in reversed(NAMES.items()) for name in names.split()}
CALLED = ("name", "camera_name", "cameraName", "cam_name", "camName", "label", "serial", "id")

# ---- what a file says of its lens ----
# Words that name a lens model, and others that may as well name a product.
SAYS_MODEL = """distortionmodel projectionmodel projectiontype distortiontype intrinsicmodel
    intrinsicsmodel intrinsicstype lensmodeltype""".split()
MAY_SAY_MODEL = """cameramodel lensmodel lenstype cameratype cammodel calibrationmodel
    calibrationtype model type lens projection camera method""".split()
FLAGS = """fisheye isfisheye usefisheye fisheyemodel fisheyelens omnidirectional isomni omni
    isomnidirectional equidistant""".split()
OTHER_MODEL = re.compile(
    r"fish|equi[ds]|^equi$|kannala|brandt|^kb\d?$|omni(?!vision)|\bmei(?![a-z])|ucm|sphere|spheric|scaramuzza"
    r"|ocam|catadioptr|\bfov\b|\batan|stereograph|orthograph|division|inverse|modified|panoram"
    r"|f.?theta|cylind|^ds$|mirror(?!less)"
)
OPENCV_MODEL = re.compile(
    r"pinhole|perspective|brown|conrady|plumb|rad.?tan|radial|opencv|standard|none|linear|ideal"
    r"|undistort|polynomial|simple|normal|regular|rectilinear|^cv2?$|^no$|^$"
)

ABOUT = ("metadata", "info", "world")  # tables about the whole file
# Poses the other way round: asked about, never read.
CAMERA_TO_WORLD = """c2w cam2world camera2world camtoworld cameratoworld worldfromcam
    worldfromcamera camtoworldmatrix cameratoworldmatrix cam2worldmatrix twc""".split()

HARMLESS = re.compile(
    r"board|square|marker|grid|pixel|checker|pattern|cell|error|rms|(?<!rotation)count|residual|distance|date"
    r"|stamp|path|file|comment|note|verif|exposure|frame|points|std|unit|uuid|metadata"
)
LOOKS = {
    "lens": re.compile(
        r"dist|coef|radial|tang(?!l)|lens|fish|omni|^[kp]\d+$|^xi$|mirror|skew|prism|mapping|stretch"
    ),
    "size": re.compile(r"size|width|height|resol|^im.*(dim|shape)|crop|offset|binning|^roi$"),
    "pose": re.compile(
        r"rot|trans|pose|extrin|quat|orient|posit|cent(er|re)|world|c2w|w2c|rvec|tvec|^q(vec)?$|euler"
    ),
}
LARGEST_COEFFICIENT = 50.0  # coefficients of a lens are no larger


def bare_name(key: str) -> str:
    """A key without case, blanks and underscores.

    Args:
        key: as a file has it.

    Returns:
        Its letters and digits, in lower case.
    """
    return re.sub(r"[^a-z0-9]", "", str(key).lower())


def array_of(value: Any) -> Any:
    """A table of `rows`, `cols`, `data` (OpenCV's, ROS's) as an array; anything else as it is.

    Args:
        value: of a key.

    Returns:
        (rows, cols) float64, or `value`.
    """
    if isinstance(value, Mapping) and {"rows", "cols", "data"} <= value.keys():
        return np.array(value["data"], np.float64).reshape(int(value["rows"]), int(value["cols"]))
    return value


def is_camera(value: Any) -> bool:
    """Does a table hold intrinsics, under any name, directly or one level deeper?

    Args:
        value: of a key.

    Returns:
        Whether it does.
    """
    if not isinstance(value, Mapping):
        return False
    fields = {MEANT.get(name) for _, name, _ in entries_of(value)}
    return bool(fields & {"matrix", "fx", "focal", "projection"})


def called(value: Any, otherwise: str) -> str:
    """A camera's name.

    Args:
        value: its table.
        otherwise: the name if it has none.

    Returns:
        The name, as text.
    """
    names = [value[key] for key in CALLED if key in value] if isinstance(value, Mapping) else []
    return str(next((n for n in names if isinstance(n, (str, int))), otherwise))


def entries_of(fields: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterator[tuple]:
    """What a table and those in it hold.

    An inner key is named with its table's if that is a known name: {rotation: {matrix}}. Tables
    about boards and the like are passed over; one of a pose from camera to world is left whole.

    Args:
        fields: the table.
        above: plain name of the table that it lies in.
        depth: how many tables it lies in.

    Yields:
        (key, its plain name, value); None and tables that hold nothing are left out.
    """
    for key, value in fields.items():
        value, name = array_of(value), bare_name(key)
        within = f"{above}{name}"
        if isinstance(value, Mapping) and name not in CAMERA_TO_WORLD:
            if depth < 3 and not HARMLESS.search(name):
                yield from entries_of(value, name, depth + 1)
        elif value is not None:
            known = MEANT.get(within) or within in (*SAYS_MODEL, *FLAGS)
            yield str(key), within if known else name, value


def check_words(fields: Mapping[str, Any], where: str) -> None:
    """Refuse a lens model other than OpenCV's usual one by the file's own words.

    Those of a table `metadata` or `info` in it, too.

    Args:
        fields: of a camera, or of a whole file.
        where: file and camera, for the message.

    Raises:
        ValueError: `camera_model = fisheye` and the like, or a model's name that nobody knows.
    """
    about = [v for k, v in fields.items() if bare_name(k) in ABOUT and isinstance(v, Mapping)]
    for key, name, value in (entry for table in (fields, *about) for entry in entries_of(table)):
        if _is_other_lens(name, value):
            word = str(value).lower() if isinstance(value, bool) else value
            raise ValueError(
                f"{where}: {key} = {word} is not supported (OpenCV's pinhole with k1, k2, p1, p2, "
                "k3 is); undistort the video first or calibrate a pinhole model"
            )
        if name in SAYS_MODEL and not OPENCV_MODEL.search(str(value).lower()):
            raise ValueError(
                f"{where}: {key} = {value} is an unknown lens model (OpenCV's pinhole "
                "with k1, k2, p1, p2, k3 is): undistort the video first, or write "
                f"{key} = pinhole if that is what it is"
            )


def _is_other_lens(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if name in FLAGS:
        return word not in ("false", "no", "off", "0", "0.0", "none", "null", "", "[]")
    if name == "xi":  # of a mirror or an omnidirectional lens
        return bool(np.any(value))
    says = isinstance(value, str) and name in (*SAYS_MODEL, *MAY_SAY_MODEL)
    return says and bool(OTHER_MODEL.search(word))
