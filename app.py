"""The router: which pages there are, and one call that runs the one asked for."""

from __future__ import annotations

from pages.ui import navigation

navigation.route()
