"""The modules that a plan is told by: the parts of the list of modules that saves most."""

from collections.abc import Mapping

from torch import nn

from memprop.errors import unknown_name


def blocks_of(module: nn.Module, saved: Mapping[str, int], wanted: str | None) -> list[str]:
    """The paths of the blocks of a module.

    Args:
        module: the module.
        saved: for the path of each module, the bytes that it saves for the backward pass itself.
        wanted: the path of the ``ModuleList`` or ``Sequential`` whose parts are the blocks. If it
            is ``None``, that of which the most is saved; the modules in ``module`` if it has none.

    Raises:
        InvalidValueError: there is no such list.
    """
    lists = _lists_of(module)
    if wanted is not None:
        return lists[wanted]
    if not lists:
        return _children("", module) or [""]
    sizes = {path: sum(_saved_in(part, saved) for part in parts) for path, parts in lists.items()}
    # Of a list within a list the outer one tells as much in fewer rows.
    return lists[max(sizes, key=lambda path: (sizes[path], -path.count(".")))]


def check_blocks(module: nn.Module, wanted: str | None) -> None:
    """Raise UnknownNameError unless ``wanted`` is the path of a list of blocks, or missing."""
    lists = _lists_of(module)
    if wanted is not None and wanted not in lists:
        raise unknown_name("blocks", wanted, [path or "'' (the module itself)" for path in lists])


def _lists_of(module: nn.Module) -> dict[str, list[str]]:
    """The lists of modules, each by its path, with the paths of what is in it."""
    return {
        path: _children(path, part)
        for path, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential) and len(part) > 1
    }


def is_in(path: str, block: str) -> bool:
    """Whether a module is a block, or part of it."""
    return not block or path == block or path.startswith(f"{block}.")


def _children(path: str, module: nn.Module) -> list[str]:
    return [f"{path}.{name}".lstrip(".") for name, _ in module.named_children()]


def _saved_in(block: str, saved: Mapping[str, int]) -> int:
    return sum(size for path, size in saved.items() if is_in(path, block))
