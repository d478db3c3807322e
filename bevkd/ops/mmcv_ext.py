"""Placeholder until the ops helper writes it."""


def install() -> None:
    pass
