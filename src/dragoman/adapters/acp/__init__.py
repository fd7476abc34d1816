"""Any agent that speaks ACP, the Agent Client Protocol: the one that ``command`` under ``[providers.acp]`` names.

Nothing is known of it but the protocol: it may use its own tools without asking, so what it is held to is what it
itself agrees to. It gets no file system and no terminal from us, and whatever it asks permission for is denied.
"""

from __future__ import annotations

from dragoman.adapters.acp.dialogue import AcpDialogue, Agent
from dragoman.adapters.base import (
    FINISH_S,
    FLUSH_S,
    Dialogue,
    Installed,
    Launch,
    Plan,
    Profile,
    StopStep,
    Transport,
    Turn,
)

# The turn is given up in words first; at the end of its input an agent has nobody left to work for.
STOP = (StopStep("interrupt", 0.2), StopStep("eof", 1.0), StopStep("term"), StopStep("kill"))

PROFILE = Profile(
    name="acp",
    title="ACP agent",
    description="The agent that its user has set up, over the Agent Client Protocol.",
    executables=("acp-agent",),
    install_hint='set `command` under [providers.acp] to an agent that speaks ACP, such as ["opencode", "acp"]',
    order=60,
    transports=(Transport("acp"),),
    own_retries="unlimited",
    strength={"read-only": "agent-honoured"},
    takes_system_prompt=False,
    keeps_sessions=True,
)


class AcpAdapter:
    """See the module."""

    profile = PROFILE

    def plan(self, turn: Turn, found: Installed) -> Plan:
        """The configured command as it is."""
        finish_s = FINISH_S if turn.session is None else FLUSH_S
        return Plan(Launch((), stop=STOP, finish_s=finish_s), host_key=f"acp {turn.id}")

    def dialogue(self, plan: Plan) -> Dialogue:
        """A new dialogue."""
        return AcpDialogue(Agent())

    def logged_in(self, code: int, stdout: str, stderr: str) -> bool | None:
        """There is no common way to tell."""
        return None


adapter = AcpAdapter()
