"""What a search is: its configuration, its objectives, the frame that it is measured in, and how one is opened.

The room can be called: `harmony_core.search(config)` is `harmony_core.api.run_search`, which has its arguments.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        # The face lies above this room and imports nearly all.
        from harmony_core.api import run_search

        return run_search(*arguments, **options)


# Python looks for `__call__` in a module's class alone.
sys.modules[__name__].__class__ = _Room
