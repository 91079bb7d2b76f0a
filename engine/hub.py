"""Is the hub of models and data sets within reach? Asked once per process, in seconds.

The hub's clients retry every request for half a minute. A study of fifteen languages asks dozens of times, so that an
offline machine would wait a quarter of an hour for the message that says what to do.
"""

from __future__ import annotations

from functools import cache

SECONDS = 5.0


@cache
def settle() -> bool:
    """Ask the hub once; where it does not answer, its clients take what was downloaded before or fail at once.

    Any answer counts, a refusal too: what the hub says about a name is the clients' business. Returns whether it
    answered.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # no name, no route, no answer in time, no certificate: all mean that nothing can be fetched
        import datasets

        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        return False
    return True
