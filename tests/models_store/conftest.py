from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # machines differ, facts do not
settings.load_profile("untimed")
