"""What a machine says of its GPU, and what to install where PyTorch and card do not fit."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sysconfig

# Oldest driver of each generation of CUDA, and the capability below which its builds have no
# kernels (NVIDIA's release notes of CUDA 11.8, 12.8 and 13.0).
DRIVERS = {11: 450, 12: 525, 13: 580}
OLDEST = {11: (3, 5), 12: (5, 0), 13: (7, 5)}
NEEDED = (
    *("av", "matplotlib", "PIL", "piq", "plotly", "safetensors", "scipy", "sklearn", "tomli_w"),
    *("torchvision", "tqdm", "yaml"),
)


def smi() -> dict:
    """Card, driver and memory as `nvidia-smi` tells them; {} where it does not."""
    if shutil.which("nvidia-smi") is None:
        return {}
    fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    done = subprocess.run(
        ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=20,
    )
    line = (done.stdout.splitlines() or [""])[0]
    values = [value.strip() for value in line.split(",")]
    names = ("card", "driver", "memory", "fastest_clock", "power_limit")
    return dict(zip(names, values)) if done.returncode == 0 and len(values) == 5 else {}


def missing() -> list[str]:
    """Modules that the library needs and this Python lacks."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def compilers() -> dict:
    """What `torch.compile` needs for a GPU: triton, a C compiler and Python's headers."""
    return {
        "triton": importlib.util.find_spec("triton") is not None,
        "c_compiler": os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"),
        "python_headers": os.path.isfile(
            os.path.join(sysconfig.get_path("include"), "Python.h"),
        ),
    }


def remedy(facts: dict) -> str | None:
    """One sentence that says what to install, or None where wheel, driver and card fit.

    facts: torch, cuda (of the build, None: for CPUs), driver ("580.65"), capability ([9, 0]),
    architectures (["sm_90", ...]), of which the last three may be missing.
    """
    driver, build = facts.get("driver"), facts.get("cuda")
    newest = max((c for c, least in DRIVERS.items() if _major(driver) >= least), default=None)
    if driver is None and not facts.get("capability"):
        return (
            "no NVIDIA driver answers (nvidia-smi finds no card): install the driver, or pass the "
            "card to this container"
        )
    if newest is None and driver is not None:
        return f"driver {driver} is older than any that PyTorch serves: install 580 or newer"
    if build is None:
        return (
            f"torch {facts.get('torch')} is built for CPUs: install a build for CUDA {newest} (its "
            f"version ends in +cu{newest}x)"
        )
    if driver is not None and _major(driver) < DRIVERS.get(int(build.split(".")[0]), 0):
        return (
            f"torch {facts.get('torch')} is built for CUDA {build}, which driver {driver} does not "
            f"serve: install a build for CUDA {newest} (+cu{newest}x), or driver "
            f"{DRIVERS[int(build.split('.')[0])]} or newer"
        )
    return _no_kernels(facts)


def _no_kernels(facts: dict) -> str | None:
    """The same where driver and build fit, and the build has no kernels for the card."""
    capability, architectures = facts.get("capability"), facts.get("architectures")
    if not capability or not architectures or _runs(tuple(capability), architectures):
        return None
    major, minor = capability
    fitting = [c for c, oldest in OLDEST.items() if (major, minor) >= oldest]
    build = "12.8 or newer (+cu128, +cu130)" if major >= 10 else f"{max(fitting, default=11)}"
    if max(fitting, default=11) == 12:
        build = "12.6 (+cu126), whose kernels reach back to this card"
    return (
        f"torch {facts.get('torch')} has kernels for {', '.join(architectures)}, the card is "
        f"sm_{major}{minor}: install a build for CUDA {build}"
    )


def _runs(capability: tuple[int, int], architectures: list[str]) -> bool:
    """Kernels run on their own generation from their minor version on, PTX on all that follow."""
    major, minor = capability
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        one, two = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and one == major and two <= minor:
            return True
        if kind == "compute" and (one, two) <= (major, minor):
            return True
    return False


def _major(driver: str | None) -> int:
    head = (driver or "").split(".")[0]
    return int(head) if head.isdigit() else 0


def environment(how, tell) -> None:
    """Python, PyTorch, card and driver; then a kernel, which this process may not survive."""
    facts = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "missing_modules": missing(),
        "compilers": compilers(),
        **smi(),
    }
    tell(facts)
    import torch

    facts |= {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    tell(facts)
    facts["device"] = "cpu"
    if how.device != "cpu" and torch.cuda.is_available():
        facts |= {
            "capability": list(torch.cuda.get_device_capability()),
            "architectures": torch.cuda.get_arch_list(),
            "card": torch.cuda.get_device_name(),
            "memory_gb": torch.cuda.get_device_properties(0).total_memory / 1e9,
        }
        tell({"remedy": remedy(facts)} | facts)
        x = torch.ones(1 << 20, device="cuda")
        facts["kernel"] = float((x + x).sum()) == 2 << 20
        torch.cuda.synchronize()
        facts["device"] = "cuda" if facts["kernel"] else "cpu"
    fix = remedy(facts) if how.device != "cpu" else None
    if facts["missing_modules"]:
        fix = f"install {', '.join(facts['missing_modules'])}. {fix or ''}".strip()
    tell(facts | {"remedy": fix})
