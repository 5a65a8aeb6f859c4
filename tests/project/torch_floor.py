"""The names and signatures of a version of torch, read from its wheel without importing it.

    pip download --no-deps torch==VERSION && python -m tests.project.torch_floor torch-VERSION-*.whl

writes `torch_floor.txt` beside this file: a line a name, with the most positional arguments that it takes (`*` any
number, `?` not written in Python) and the names of its arguments (`**` any).
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FILE = Path(__file__).with_name("torch_floor.txt")
# Modules whose names are listed, whether or not this code uses them today.
MODULES = (
    "torch", "torch._dynamo", "torch.autograd", "torch.autograd.function", "torch.autograd.graph",
    "torch.backends.cuda", "torch.backends.cudnn", "torch.backends.mkldnn", "torch.compiler", "torch.cuda",
    "torch.distributed", "torch.fft", "torch.linalg", "torch.nn", "torch.nn.attention", "torch.nn.attention.bias",
    "torch.nn.attention.flex_attention", "torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.optim",
    "torch.profiler", "torch.random", "torch.testing", "torch.utils._python_dispatch", "torch.utils.checkpoint",
    "torch.version",
)  # fmt: skip
# Classes whose attributes are listed: where they are written, and what they are called here.
CLASSES = {
    "torch._C.TensorBase": "torch.Tensor",
    "torch._tensor.Tensor": "torch.Tensor",
    "torch.autograd.function.Function": "torch.autograd.Function",
    "torch.cuda.streams.Event": "torch.cuda.Event",
    "torch._C._distributed_c10d.Store": "torch.distributed.Store",
    "torch._C._distributed_c10d.ReduceOp": "torch.distributed.ReduceOp",
    "torch._C._SDPBackend": "torch.nn.attention.SDPBackend",
    "torch.utils.deterministic._Deterministic": "torch.utils.deterministic",
    "torch.nn.attention.flex_attention.BlockMask": "torch.nn.attention.flex_attention.BlockMask",
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "torch.optim.optimizer.Optimizer": "torch.optim.Optimizer",
}
# Of private names, and of operations below the functions, those that this code has use for.
PRIVATE = {
    "torch.__version__",
    "torch._softmax",
    "torch._softmax_backward_data",
    "torch._grouped_mm",
    "torch._dynamo.config",
    "torch.nn.Module.__init__",
}
OPERATION = r"^- func: (\w+_backward(?:\.\w+)?)\("
# Written in C++ alone; its schema is looked for in the library.
CPU_ONLY = ("mkldnn::_linear_pointwise",)
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Sources:
    """The Python files and stubs of a wheel of torch.

    Args:
        wheel: the file.
    """

    def __init__(self, wheel: Path) -> None:
        self._zip = zipfile.ZipFile(wheel)
        self._files = set(self._zip.namelist())
        self._scopes: dict[str, dict[str, list[ast.stmt]]] = {}

    def text(self, name: str) -> str:
        """A file of the wheel."""
        return self._zip.read(name).decode()

    def binary(self, name: str) -> bytes:
        """A library of the wheel."""
        return self._zip.read(name)

    def scope(self, module: str) -> dict[str, list[ast.stmt]]:
        """What each name of a module is defined by, of its source and its stub."""
        if module not in self._scopes:
            self._scopes[module] = scope = {}
            base = module.replace(".", "/")
            for file in (f"{base}.py", f"{base}/__init__.py", f"{base}.pyi", f"{base}/__init__.pyi"):
                if file in self._files:
                    self._read(ast.parse(self.text(file)).body, module, file, scope)
            if module == "torch":
                # These are put into the module while it is imported.
                for other in ("torch._C._VariableFunctions", "torch._C"):
                    for name, found in self.scope(other).items():
                        scope.setdefault(name, found)
        return self._scopes[module]

    def is_module(self, name: str) -> bool:
        """Whether the wheel has a module of this name."""
        base = name.replace(".", "/")
        return not self._files.isdisjoint({f"{base}.py", f"{base}/__init__.py", f"{base}.pyi", f"{base}/__init__.pyi"})

    def signature(self, definitions: list[ast.stmt], module: str) -> str:
        """`MOST NAMES...` of a function or class; `?` for what only says that it exists."""
        functions = [one for one in definitions if isinstance(one, Function)]
        if functions:
            return _merged(functions, bound=False)
        for one in definitions:
            if isinstance(one, ast.ClassDef):
                return self._of_class(one, module)
        return "?"

    def _of_class(self, one: ast.ClassDef, module: str) -> str:
        for name in ("__init__", "__new__"):
            makers = [node for node in one.body if isinstance(node, Function) and node.name == name]
            if makers:
                return _merged(makers, bound=True)
        for base in one.bases:
            if isinstance(base, ast.Name) and base.id in self.scope(module):
                return self.signature(self.scope(module)[base.id], module)
        return "?"

    def _read(self, body: list[ast.stmt], module: str, file: str, scope: dict[str, list[ast.stmt]]) -> None:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    scope.setdefault(node.name, []).append(node)
                case ast.Assign():
                    for target in node.targets:
                        for name in ast.walk(target):
                            if isinstance(name, ast.Name):
                                scope.setdefault(name.id, []).append(node)
                case ast.AnnAssign(target=ast.Name(id=name)):
                    scope.setdefault(name, []).append(node)
                case ast.ImportFrom():
                    self._import(node, module, file, scope)
                case ast.Import():
                    for alias in node.names:
                        scope.setdefault((alias.asname or alias.name).split(".")[0], []).append(node)
                case ast.If() | ast.Try() | ast.With():
                    parts = [node.body, getattr(node, "orelse", []), getattr(node, "finalbody", [])]
                    parts += [handler.body for handler in getattr(node, "handlers", [])]
                    for part in parts:
                        self._read(part, module, file, scope)

    def _import(self, node: ast.ImportFrom, module: str, file: str, scope: dict[str, list[ast.stmt]]) -> None:
        origin = node.module or ""
        if node.level:
            package = module if "__init__" in file else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            origin = f"{package}.{origin}".rstrip(".")
        theirs = self.scope(origin) if origin.split(".")[0] == "torch" else {}
        for alias in node.names:
            if alias.name == "*":
                for name, found in theirs.items():
                    if not name.startswith("_"):
                        scope.setdefault(name, []).extend(found)
            else:
                scope.setdefault(alias.asname or alias.name, []).extend(theirs.get(alias.name) or [node])


def _merged(functions: list[Function], bound: bool) -> str:
    """All overloads as one: what any of them takes."""
    most, names = 0, {}
    for one in functions:
        given = one.args
        places = [*given.posonlyargs, *given.args]
        static = any(isinstance(mark, ast.Name) and mark.id == "staticmethod" for mark in one.decorator_list)
        if bound and not static and places:
            places = places[1:]
        most = max(most, 10**6 if given.vararg else len(places))
        names.update(dict.fromkeys(arg.arg for arg in (*places, *given.kwonlyargs)))
        if given.kwarg:
            names["**"] = None
    return " ".join(["*" if most >= 10**6 else str(most), *names])


def lines(wheel: Path) -> Iterator[str]:
    """All lines of the file but the first."""
    sources = Sources(wheel)
    for module in MODULES:
        yield f"{module} ?"
        for name, found in sources.scope(module).items():
            if name not in ("__all__", "__doc__", "__getattr__", "__dir__"):
                yield f"{module}.{name} {sources.signature(found, module)}"
    for written, known in CLASSES.items():
        module, _, name = written.rpartition(".")
        bodies = [sources.scope(module)] if sources.is_module(module) else []
        if not bodies:
            # A class within a class.
            outer_module, _, outer = module.rpartition(".")
            bodies = [{one.name: [one] for one in _classes(sources.scope(outer_module)[outer])}]
        for one in (one for body in bodies for one in body[name] if isinstance(one, ast.ClassDef)):
            yield from _of_body(one, known)
    native = sources.text("torchgen/packaged/ATen/native/native_functions.yaml")
    for name in re.findall(OPERATION, native, flags=re.MULTILINE):
        yield f"torch.ops.aten.{name} ?"
        yield f"torch.ops.aten.{name.partition('.')[0]} ?"
    library = sources.binary("torch/lib/libtorch_cpu.so")
    for name in CPU_ONLY:
        if name.encode() in library:
            yield f"torch.ops.{name.replace('::', '.')} ?"
    yield from ("torch.ops ?", "torch.ops.aten ?", "torch.ops.mkldnn ?")


def _classes(found: list[ast.stmt]) -> list[ast.ClassDef]:
    return [inner for one in found if isinstance(one, ast.ClassDef) for inner in one.body
            if isinstance(inner, ast.ClassDef)]  # fmt: skip


def _of_body(one: ast.ClassDef, known: str) -> Iterator[str]:
    methods: dict[str, list[Function]] = {}
    for node in one.body:
        if isinstance(node, Function):
            methods.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield f"{known}.{node.target.id} ?"
        elif isinstance(node, ast.Assign):
            yield from (f"{known}.{name.id} ?" for name in node.targets if isinstance(name, ast.Name))
    for name, found in methods.items():
        yield f"{known}.{name} {_merged(found, bound=True)}"


def main() -> None:
    wheel = Path(sys.argv[1])
    version = wheel.name.split("-")[1].split("+")[0]
    # Of several definitions the one that says most counts.
    found: dict[str, str] = {}
    for line in lines(wheel):
        name, _, signature = line.partition(" ")
        private = name.rpartition(".")[2].startswith("_") and not name.startswith("torch.ops.")
        if (not private or name in PRIVATE) and found.get(name, "?") == "?":
            found[name] = signature
    FILE.write_text("\n".join([f"version {version}", *(f"{name} {found[name]}" for name in sorted(found))]) + "\n")


if __name__ == "__main__":
    main()
