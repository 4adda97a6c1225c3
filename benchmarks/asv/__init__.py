"""Times of each commit, by airspeed velocity."""
