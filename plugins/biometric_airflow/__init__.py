"""What the biometric DAGs share: schedules, pool, callbacks, the drift asset."""
