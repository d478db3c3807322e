"""Keeps what mmengine logs about every initialised weight out of the printed figures."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def quiet_mmengine():
    from mmengine.logging import MMLogger

    MMLogger.get_instance("real_frame", log_level="ERROR")
