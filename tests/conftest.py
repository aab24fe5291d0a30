"""What all tests share."""

from hypothesis import HealthCheck, settings

# The same examples everywhere, and no verdict on how fast a machine draws them.
settings.register_profile("subtide", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("subtide")
