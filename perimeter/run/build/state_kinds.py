"""The kinds of state that the gateway keeps. A new kind is added here."""

from __future__ import annotations

from typing import Final

from perimeter.factors.pending import PENDING
from perimeter.factors.stored import FACTORS
from perimeter.providers.flows import FLOWS
from perimeter.providers.pins import PINS
from perimeter.sessions.stored import SESSIONS
from perimeter.state.kinds import Kinds
from perimeter.state.once import ONCE
from perimeter.tokens.key_news import KEY_NEWS
from perimeter.tokens.stored import TOKENS

STATE_KINDS: Final = Kinds((TOKENS, SESSIONS, FACTORS, PENDING, ONCE, FLOWS, PINS, KEY_NEWS))
