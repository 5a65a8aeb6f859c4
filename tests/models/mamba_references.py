"""The reference functions of mamba-ssm and causal-conv1d, from wherever they are installed.

Neither package can be imported without its CUDA extension, and Triton is asked for by files whose references need
none. So a function is compiled from its file, without what stands around it.
"""

import ast
import importlib.util
from pathlib import Path

import pytest
import torch


def references(package, *files, **given):
    """Every `*_ref` function, and those that they call, of some files of a package; skips the test without it.

    Args:
        package: its name.
        files: paths inside it.
        given: what the functions find under a name that would be a CUDA function.
    """
    einops = pytest.importorskip("einops")
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    names = {"torch": torch, "F": torch.nn.functional, "rearrange": einops.rearrange, "repeat": einops.repeat}
    for file in files:
        path = Path(spec.submodule_search_locations[0], file)
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        plain = [_without_imports(node) for node in functions if not node.decorator_list]
        exec(compile(ast.Module(plain, []), str(path), "exec"), names)
    names.update(given)
    return names


def _without_imports(function):
    function.body = [node for node in function.body if not isinstance(node, ast.ImportFrom)]
    return function


def mamba_ssm():
    """The references of mamba-ssm 2 by name, for Mamba-1 and Mamba-2."""
    scan = references("mamba_ssm", "ops/selective_scan_interface.py")["selective_scan_ref"]
    files = ("ssd_chunk_state", "ssd_state_passing", "ssd_chunk_scan", "ssd_combined", "selective_state_update")
    norm = references("mamba_ssm", "ops/triton/layernorm_gated.py")["rms_norm_ref"]
    paths = [f"ops/triton/{file}.py" for file in files]
    given = {
        "selective_scan_fn": scan,
        "selective_scan_ref": scan,
        "causal_conv1d_fn": causal_conv1d()["causal_conv1d_ref"],
        "rms_norm_ref": norm,
        "rmsnorm_fn": norm,
    }
    return references("mamba_ssm", "modules/ssd_minimal.py", *paths, **given)


def causal_conv1d():
    """The references of causal-conv1d by name."""
    return references("causal_conv1d", "causal_conv1d_interface.py")
