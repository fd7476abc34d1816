"""What codex is told on its command line so that nothing of the user's starts and nothing can be changed."""

from __future__ import annotations

DEFAULT_INSTRUCTIONS = "Answer the question directly and completely."

_ALWAYS_OFF = ("multi_agent", "goals", "plugins", "apps", "hooks", "shell_snapshot", "image_generation", "sleep_tool")
_OFF_WITHOUT_A_FOLDER = ("shell_tool", "unified_exec", "view_image")

_SETTINGS = (
    # Connection refused would otherwise be retried for ever.
    "features.unbounded_connection_retries=false",
    'web_search="disabled"',
    # The user's program that is told of every turn.
    "notify=[]",
    "project_doc_max_bytes=0",
    # No configuration of a project is looked for above the folder.
    "project_root_markers=[]",
    "skills.include_instructions=false",
    "include_apps_instructions=false",
    # Commands that the model runs would otherwise see the whole environment.
    'shell_environment_policy.inherit="core"',
    "check_for_update_on_startup=false",
)
_SETTINGS_WITHOUT_A_FOLDER = ("include_permissions_instructions=false", "include_environment_context=false")


def overrides(*, looks: bool) -> tuple[str, ...]:
    """The ``-c`` options. `looks`: it may read a folder, for which it needs its shell."""
    off = _ALWAYS_OFF if looks else (*_ALWAYS_OFF, *_OFF_WITHOUT_A_FOLDER)
    settings = _SETTINGS if looks else (*_SETTINGS, *_SETTINGS_WITHOUT_A_FOLDER)
    pairs = (*settings, *(f"features.{feature}=false" for feature in off))
    return tuple(word for pair in pairs for word in ("-c", pair))
